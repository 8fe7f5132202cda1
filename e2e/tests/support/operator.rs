//! The operator as a process outside of the cluster, since simulated nodes run nothing; its API and objects of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use ostro_e2e::process::{Owned, free_port};
use serde_json::{Value, json};

use super::Cluster;

/// Ends with the test.
pub struct Operator {
    process: Owned,
    port: u16,
}

impl Operator {
    /// `words` are those after `run`, and its address.
    pub fn start(cluster: &Cluster, words: &[&str]) -> Operator {
        Operator::start_by(cluster, &[], words)
    }

    /// By a program before it, such as `env`.
    pub fn start_by(cluster: &Cluster, before: &[&str], words: &[&str]) -> Operator {
        let port = free_port().unwrap();
        let mut command = cluster.command(&[&["exec", "--"], before].concat());
        command.arg(program("ostro-operator")).args(["run", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(words);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Operator { process: Owned::new(process), port }
    }

    /// Of loopback, for probes and metrics.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// So that the next one leads at once: it gives up its lease.
    pub fn stop(mut self) {
        let ended = self.process.terminate(Duration::from_secs(30)).unwrap();
        assert!(ended.is_some(), "the operator does not end");
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What defines its API.
pub const CRD: &str = "inferencedeployments.inference.ostro.dev";

/// Waits until the API server serves it.
pub fn apply_api(cluster: &Cluster) {
    let crd = Command::new(program("ostro-operator")).arg("crd").output().unwrap();
    // Client-side: the object fits the annotation.
    cluster.apply(&String::from_utf8(crd.stdout).unwrap());
    cluster.await_established(&[&format!("crd/{CRD}")]);
}

pub fn object(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

/// A program of this workspace, beside the tests' own folder.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}

/// `kubectl ostro`, with the plugin where kubectl finds it.
pub fn kubectl_ostro(cluster: &Cluster, words: &[&str]) -> Command {
    let folder = program("kubectl-ostro").parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = cluster.command(&[&["exec", "--", "kubectl", "ostro"], words].concat());
    command.env("PATH", path);
    command
}
