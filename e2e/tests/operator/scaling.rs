//! Autoscalers: what they set by `/scale` is theirs, however often they change it, and the operator follows.

use std::process::Stdio;
use std::time::{Duration, Instant};

use ostro_e2e::http;
use ostro_e2e::process::{Owned, free_port};
use ostro_e2e::writes::Writes;
use serde_json::{Value, json};

use crate::support::{Cluster, await_until};
use crate::{NAMESPACE, await_ready, children, get, manifest, writes};

const NAME: &str = "flapped";
const PATH: &str = "/apis/inference.ostro.dev/v1alpha1/namespaces/shop/inferencedeployments/flapped";
const CHANGES: u64 = 100;

pub(crate) fn check(cluster: &Cluster) {
    apply(cluster, "100m");
    await_ready(cluster, NAME, "1/1");
    let before = writes(cluster);
    let wanted = flap(cluster);
    let start = Instant::now();
    await_until("the Deployment to follow", || replicas(cluster, "deployment") == wanted);
    assert!(start.elapsed() < Duration::from_secs(10), "followed after {:?}", start.elapsed());
    await_ready(cluster, NAME, &format!("{wanted}/{wanted}"));
    std::thread::sleep(Duration::from_secs(5));
    check_replicas(cluster, wanted);
    check_scale(cluster, wanted);
    check_writers(cluster, &before);

    // The manifest has another template, and no replicas.
    apply(cluster, "200m");
    await_until("the template", || {
        let container = &get(cluster, "deployment/flapped")["spec"]["template"]["spec"]["containers"][0];
        container["resources"]["requests"]["cpu"] == "200m"
    });
    check_replicas(cluster, wanted);
    cluster.kubectl(&["delete", "infd/flapped", "--namespace", NAMESPACE]);
    await_until("the children to go", || children(cluster, NAME).is_empty());
}

/// As GitOps does, server-side, of an object whose pods ask for this CPU.
fn apply(cluster: &Cluster, cpu: &str) {
    let resources = json!({ "requests": { "cpu": cpu } });
    let object = manifest(NAME, &json!({ "models": [{ "modelId": "a/b" }], "resources": resources }));
    let output = cluster.kubectl_input(&["apply", "--server-side", "-f", "-"], &object);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn replicas(cluster: &Cluster, kind: &str) -> u64 {
    get(cluster, &format!("{kind}/{NAME}"))["spec"]["replicas"].as_u64().unwrap()
}

fn check_replicas(cluster: &Cluster, wanted: u64) {
    assert_eq!((replicas(cluster, "infd"), replicas(cluster, "deployment")), (wanted, wanted));
}

/// An autoscaler that cannot decide, as fast as the API server takes it; what it wants in the end.
fn flap(cluster: &Cluster) -> u64 {
    let (host, port) = (cluster.server().ip().to_string(), free_port().unwrap().to_string());
    let words = ["kubectl", "proxy", "--address", &host, "--port", &port, "--accept-hosts", ".*"];
    let mut command = cluster.command(&[&["exec", "--"], &words[..]].concat());
    // A process for each change would take longer than the change.
    let _proxy = Owned::new(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    let url = format!("http://{host}:{port}{PATH}/scale");
    await_until("the proxy", || http::get(&url).call().is_ok());
    let (mut last, agent) = (0, http::agent());
    for change in 0..CHANGES {
        // Down and up in turn: 0, 8, 1, 7, ...
        last = if change.is_multiple_of(2) { change / 2 % 5 } else { 8 - change / 2 % 4 };
        let body = json!({ "spec": { "replicas": last } }).to_string();
        let request = agent.patch(&url).header("Content-Type", "application/merge-patch+json");
        request.query("fieldManager", "autoscaler").send(&body).unwrap();
    }
    last
}

fn fetch(cluster: &Cluster, path: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&["get", "--raw", path])).unwrap()
}

fn check_scale(cluster: &Cluster, wanted: u64) {
    let scale = fetch(cluster, &format!("{PATH}/scale"));
    let wanted = json!(wanted);
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&wanted, &wanted));
    let selector = scale["status"]["selector"].as_str().unwrap();
    let words = ["get", "pods", "--namespace", NAMESPACE, "--selector", selector, "--output", "name"];
    await_until("no other pods", || json!(cluster.kubectl(&words).lines().count()) == wanted);
}

/// The operator writes the status, and nothing that people and autoscalers write.
fn check_writers(cluster: &Cluster, before: &Writes) {
    let mut written = writes(cluster).since(before).0;
    written.retain(|name, _| name.contains(" inferencedeployments") && !name.ends_with("/status"));
    assert_eq!(Vec::from_iter(written), [("PATCH inferencedeployments/scale".to_owned(), CHANGES)]);
    let object = fetch(cluster, PATH);
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let is_operators = |entry: &&Value| entry["manager"] == "ostro-operator";
    let fields: Vec<&Value> = entries.iter().filter(is_operators).map(|entry| &entry["fieldsV1"]).collect();
    assert!(fields.iter().any(|fields| !fields["f:status"].is_null()), "{entries:?}");
    assert!(fields.iter().all(|fields| fields["f:spec"].is_null()), "{entries:?}");
}
