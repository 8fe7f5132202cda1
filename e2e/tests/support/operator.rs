//! The operator as a process outside of the cluster, since simulated nodes run nothing.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::{Cluster, free_port};

/// Ends with the test.
pub struct Operator {
    process: Child,
    port: u16,
}

impl Operator {
    /// `words` are those after `run`, and its address.
    pub fn start(cluster: &Cluster, words: &[&str]) -> Operator {
        Operator::start_by(cluster, &[], words)
    }

    /// By a program before it, such as `env`.
    pub fn start_by(cluster: &Cluster, before: &[&str], words: &[&str]) -> Operator {
        let port = free_port();
        let mut command = cluster.command(&[&["exec", "--"], before].concat());
        command.arg(program("ostro-operator")).args(["run", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(words);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Operator { process, port }
    }

    /// Of loopback, for probes and metrics.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Not again by `drop`.
        std::mem::forget(self);
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of this workspace, beside the tests' own folder.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}
