//! A cluster for a test, and waiting.
#![allow(dead_code, unreachable_pub)] // each test file uses a part

pub mod chart;
pub mod dashboards;
pub mod helm;
pub mod operator;
pub mod prometheus;

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ostro_e2e::interrupt::{AtSignal, at_signal};
use ostro_e2e::{cache, cluster, skipped};

/// A cluster of its own, which goes when the test ends, or a signal ends the test.
pub struct Cluster {
    name: &'static str,
    _at_signal: AtSignal,
}

/// Why a test with these programs cannot run here; building them first may be asked for.
fn reason(is_built: bool) -> Option<&'static str> {
    let is_asked_for = std::env::var_os("OSTRO_E2E_CLUSTER").is_some();
    (!is_built && !is_asked_for).then_some(
        "the cluster's programs are not built, which takes 20 minutes: \
         run `ostro-e2e cluster build`, or set OSTRO_E2E_CLUSTER=1",
    )
}

impl Cluster {
    /// `None`, with a printed reason, where it cannot run.
    pub fn with_simulated_nodes(name: &'static str) -> Option<Cluster> {
        Cluster::unless(reason(cluster::is_control_plane_built().unwrap()).map(str::to_owned), name)
    }

    /// With simulated nodes, and the programs that scrape beside it.
    pub fn with_monitoring(name: &'static str) -> Option<Cluster> {
        let is_built = cluster::is_control_plane_built().unwrap() && cluster::is_monitoring_built().unwrap();
        let cluster = Cluster::unless(reason(is_built).map(str::to_owned), name)?;
        if !is_built {
            cluster.run(&["build"]);
        }
        Some(cluster)
    }

    pub fn with_nodes(name: &'static str) -> Option<Cluster> {
        let lacks = cluster::lacks_for_nodes();
        Cluster::unless(lacks.or(reason(cluster::is_built().unwrap()).map(str::to_owned)), name)
    }

    fn unless(reason: Option<String>, name: &'static str) -> Option<Cluster> {
        if let Some(reason) = reason {
            skipped::tell(reason);
            return None;
        }
        let _at_signal = at_signal(command(name, &["down"])).unwrap();
        let cluster = Cluster { name, _at_signal };
        cluster.run(&["down"]); // of an earlier run that was killed
        Some(cluster)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        command(self.name, words)
    }

    pub fn try_run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn kubectl(&self, words: &[&str]) -> String {
        self.run(&[&["exec", "--", "kubectl"], words].concat())
    }

    /// Of the API server: in the cluster's network, and reached by its pods and from outside.
    pub fn server(&self) -> SocketAddr {
        let server = ["config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"];
        self.kubectl(&server).trim_start_matches("https://").parse().unwrap()
    }

    /// Until the API server serves what these definitions define; `kubectl wait` fails on one without a status yet.
    pub fn await_established(&self, definitions: &[&str]) {
        let words = ["exec", "--", "kubectl", "wait", "--for=condition=Established", "--timeout=10s"];
        await_until(&format!("{definitions:?} to be served"), || {
            self.try_run(&[&words[..], definitions].concat()).status.success()
        });
    }

    pub fn folder(&self) -> String {
        cache::root().unwrap().join("cluster/run").join(self.name).display().to_string()
    }

    /// The namespace of the network between nodes and of what is outside of them.
    pub fn network(&self) -> String {
        format!("/run/netns/ostro-{}", self.name)
    }

    /// With a text on standard input.
    pub fn kubectl_input(&self, words: &[&str], input: &str) -> Output {
        self.exec_input(&[&["kubectl"], words].concat(), input)
    }

    /// Of a document in YAML or JSON.
    pub fn apply(&self, document: &dyn Display) {
        let output = self.kubectl_input(&["apply", "-f", "-"], &document.to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn exec_input(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(&[&["exec", "--"], words].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        process.wait_with_output().unwrap()
    }

    /// Processes that have the cluster's folder among their arguments, as all its programs do.
    pub fn processes(&self) -> Vec<String> {
        let folder = self.folder() + "/";
        let all = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
        let arguments = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let texts = arguments.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        texts.filter(|text| text.contains(&folder)).collect()
    }

    /// Paths of this machine that should not be there once the cluster is down.
    pub fn leftovers(&self) -> Vec<String> {
        let mut all = self.processes();
        let groups = ["/sys/fs/cgroup".into()].into_iter().chain(folders_in("/sys/fs/cgroup".as_ref()));
        let groups =
            groups.flat_map(|hierarchy| folders_in(&hierarchy)).chain(folders_in("/run/netns".as_ref()));
        let prefix = format!("ostro-{}", self.name);
        let is_ours = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&prefix);
        all.extend(groups.filter(is_ours).map(|path| path.display().to_string()));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.extend(mounts.lines().filter(|line| line.contains(&self.folder())).map(str::to_owned));
        if std::fs::exists(self.folder()).unwrap() {
            all.push(self.folder());
        }
        all
    }
}

fn command(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ostro-e2e"));
    command.args(["cluster", "--name", name]).args(words);
    command
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map_while(Result::ok).map(|entry| entry.path()).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command(&["down"]).stderr(Stdio::null()).status();
    }
}

pub fn await_until(what: &str, mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        // What is waited for shares the processors with those who ask.
        std::thread::sleep(Duration::from_millis(250));
    }
}
