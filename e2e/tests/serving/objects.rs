//! Objects and pods that the steps apply, and what the API server says of them.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Cluster, await_until, operator};

pub(crate) const PYTHON: &str = "registry.local/python:1";
pub(crate) const OSTRO: &str = "registry.local/ostro:dev";
pub(crate) const BUSYBOX: &str = "registry.local/busybox:1";

pub(crate) fn object(name: &str, spec: &Value) -> Value {
    operator::object("default", name, spec)
}

/// The quick start's model, which every node has on its disk. Held to its policy for all of the test.
pub(crate) fn chat(model: &Path, sequences: u32) -> Value {
    let mut spec = of_disk(model);
    spec["runtime"] = json!({ "maxSeqs": sequences });
    spec["networkPolicy"] = json!({ "enabled": true });
    object("chat", &spec)
}

/// Nothing is downloaded.
pub(crate) fn of_disk(model: &Path) -> Value {
    let file = model.file_name().unwrap().to_str().unwrap();
    json!({
        "models": [{ "modelId": format!("/models/{file}") }],
        "pagedAttn": { "contextLen": 4096 },
        // One that makes a short answer of the question that `kubectl ostro chat` asks.
        "global": { "seed": 1 },
        "volumes": [{
            "name": "models", "mountPath": "/models", "readOnly": true,
            "hostPath": { "path": model.parent().unwrap() },
        }],
    })
}

/// A pod that runs to its end on a node, or on any.
pub(crate) fn client(name: &str, node: Option<&str>, container: &Value) -> Value {
    let mut container = container.clone();
    container["name"] = json!("client");
    container["imagePullPolicy"] = json!("Never");
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
        "spec": { "restartPolicy": "Never", "nodeName": node, "containers": [container] },
    })
}

/// Clients that ask through the Service.
pub(crate) fn load(words: &[&str]) -> Value {
    let args = ["bench", "--url", "http://chat", "--prompt-len", "16", "--gen-len", "8", "--json"];
    let args = [&args[..], words].concat();
    json!({ "image": OSTRO, "args": args })
}

pub(crate) fn get(cluster: &Cluster, words: &[&str]) -> Value {
    let words = [&["get", "--output", "json"], words].concat();
    serde_json::from_str(&cluster.kubectl(&words)).unwrap()
}

pub(crate) fn ready_condition(cluster: &Cluster, name: &str) -> Option<Value> {
    ready_in(&get(cluster, &["infd", name]))
}

/// Of what was applied last, not of what was there before.
pub(crate) fn ready_in(object: &Value) -> Option<Value> {
    let is_seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| is_seen && condition["type"] == "Ready").cloned()
}

pub(crate) fn await_ready(cluster: &Cluster, name: &str) {
    await_until(&format!("{name} to be ready"), || {
        ready_condition(cluster, name).is_some_and(|ready| ready["status"] == "True")
    });
}

/// Those of an object that are not on their way out.
pub(crate) fn pods(cluster: &Cluster, name: &str) -> Vec<Value> {
    let list = get(cluster, &["pods", "--selector", &format!("app.kubernetes.io/instance={name}")]);
    let all = list["items"].as_array().unwrap().iter();
    all.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
}

pub(crate) fn await_phase(cluster: &Cluster, pod: &str, phase: &str) {
    let mut found = String::new();
    await_until(&format!("pod {pod} to be {phase}"), || {
        found = cluster.kubectl(&["get", "pod", pod, "--output", "jsonpath={.status.phase}"]);
        let has_ended_otherwise = ["Succeeded", "Failed"].contains(&found.as_str()) && found != phase;
        assert!(!has_ended_otherwise, "{pod} {found}: {}", cluster.kubectl(&["logs", pod]));
        found == phase
    });
}
