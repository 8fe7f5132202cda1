//! The Prometheus operator and a Prometheus as processes outside of the cluster, since simulated nodes run nothing.

use std::process::Stdio;

use ostro_e2e::http;
use ostro_e2e::process::{Owned, free_port};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use super::{Cluster, await_until};

/// Ends with the test, and shows its log if that has failed.
pub struct Process {
    _child: Owned,
    log: NamedTempFile,
}

impl Process {
    fn start(cluster: &Cluster, words: &[&str]) -> Process {
        let log = NamedTempFile::new().unwrap();
        let mut command = cluster.command(&[&["exec", "--"], words].concat());
        command.stdin(Stdio::null()).stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap());
        Process { _child: Owned::new(command.spawn().unwrap()), log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// The Prometheus operator with its API.
pub fn start_operator(cluster: &Cluster) -> Process {
    let crds = cluster.run(&["exec", "--", "prometheus-operator", "crds"]);
    // Server-side: the objects are too large for the annotation.
    let output = cluster.kubectl_input(&["apply", "--server-side", "-f", "-"], &crds);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kinds = ["prometheuses", "servicemonitors", "podmonitors"];
    let names = kinds.map(|kind| format!("crd/{kind}.monitoring.coreos.com"));
    cluster.await_established(&[&names[0], &names[1], &names[2]]);
    Process::start(cluster, &["prometheus-operator", "--web.listen-address=127.0.0.1:0"])
}

/// What the Prometheus operator has written for a Prometheus of this name, as soon as it has these jobs.
pub fn await_config(cluster: &Cluster, namespace: &str, name: &str, jobs: &[&str]) -> String {
    let script = format!(
        "kubectl get secret prometheus-{name} --namespace {namespace} --output \
         'go-template={{{{index .data \"prometheus.yaml.gz\" | base64decode}}}}' | gunzip"
    );
    let mut config = String::new();
    await_until(&format!("the jobs {jobs:?}"), || {
        let output = cluster.try_run(&["exec", "--", "sh", "-c", &script]);
        config = String::from_utf8(output.stdout).unwrap();
        jobs.iter().all(|job| config.contains(&format!("job_name: {job}\n")))
    });
    config
}

/// The same for a Prometheus outside of the cluster: with credentials, and with a loopback port in place of each pod's
/// address. Which targets there are, and their labels but for `instance`, stay as the Prometheus operator has it.
pub fn outside(config: &str, kubeconfig: &str, addresses: &[(String, u16)]) -> Value {
    // In a pod, the container beside Prometheus fills these in.
    let text = config.replace("$(POD_NAME)", "prometheus-0").replace("$(SHARD)", "0");
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    for job in config["scrape_configs"].as_array_mut().unwrap() {
        for discovery in job["kubernetes_sd_configs"].as_array_mut().unwrap() {
            discovery["kubeconfig_file"] = json!(kubeconfig);
        }
        let rules = addresses.iter().map(|(address, port)| {
            json!({
                "source_labels": ["__address__"], "regex": address,
                "target_label": "__address__", "replacement": format!("127.0.0.1:{port}"),
            })
        });
        job["relabel_configs"].as_array_mut().unwrap().extend(rules);
    }
    config
}

/// On a free port of loopback.
pub struct Prometheus {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// In a folder of its own, where its configuration is written to.
    pub fn start(cluster: &Cluster, config: &Value) -> Prometheus {
        let (folder, port) = (TempDir::new().unwrap(), free_port().unwrap());
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let words = [
            "prometheus",
            &format!("--config.file={}", file.display()),
            &format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            &format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        Prometheus { port, _process: Process::start(cluster, &words), _folder: folder }
    }

    /// The series of an instant query; none before Prometheus answers.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let Ok(mut response) = http::get(&url).query("query", query).call() else { return Vec::new() };
        let answer: Value = response.body_mut().read_json().unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    }

    pub fn await_series(&self, query: &str) {
        await_until(query, || !self.query(query).is_empty());
    }
}
