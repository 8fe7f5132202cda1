//! The main job: on a cluster whose nodes run containers, Helm installs the operator, `kubectl apply` makes a real model
//! answer through its Service, a rolling update loses no request, and deletion leaves nothing.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use ostro_e2e::{daemon, model};
use serde_json::{Value, json};
use support::{Cluster, await_until};

const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

fn images(folder: &Path) -> PathBuf {
    let archive = folder.join("images.tar");
    let daemon = daemon::binary().unwrap();
    let operator = daemon.with_file_name("ostro-operator");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ostro-e2e"));
    command
        .args(["image", "build", "--out"])
        .arg(&archive)
        .arg("--daemon")
        .arg(daemon)
        .arg("--operator")
        .arg(operator);
    assert!(command.status().unwrap().success());
    archive
}

fn object(model: &Path, sequences: u32) -> String {
    let file = model.file_name().unwrap().to_str().unwrap();
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": { "name": "chat", "namespace": "default" },
        "spec": {
            "models": [{ "modelId": format!("/models/{file}") }],
            "pagedAttn": { "contextLen": 4096 },
            "runtime": { "maxSeqs": sequences },
            "volumes": [{
                "name": "models", "mountPath": "/models", "readOnly": true,
                "hostPath": { "path": model.parent().unwrap() },
            }],
        },
    });
    object.to_string()
}

/// Clients in a pod of their own, which ask through the Service.
fn load() -> String {
    let args =
        ["bench", "--url", "http://chat", "--requests", "150", "--concurrency", "4", "--prompt-len", "16"];
    let args = [&args[..], &["--gen-len", "8", "--json"]].concat();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "load", "namespace": "default" },
        "spec": { "restartPolicy": "Never", "containers": [{
            "name": "load", "image": "registry.local/ostro:dev", "imagePullPolicy": "Never", "args": args,
        }] },
    });
    pod.to_string()
}

fn apply(cluster: &Cluster, text: &str) {
    let output = cluster.kubectl_input(&["apply", "-f", "-"], text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn await_ready(cluster: &Cluster) {
    cluster.kubectl(&["wait", "--for=condition=Ready", "infd/chat", "--timeout=120s"]);
}

fn install(cluster: &Cluster) {
    let chart = |name: &str| format!("{CHARTS}/{name}");
    cluster.run(&["exec", "--", "helm", "install", "ostro-crds", &chart("ostro-crds")]);
    let images = ["image.repository=registry.local/ostro-operator", "image.tag=dev"];
    let daemon = ["daemonImage.repository=registry.local/ostro", "daemonImage.tag=dev"];
    let set = [images, daemon].concat().join(",");
    let words =
        ["exec", "--", "helm", "install", "ostro-operator", &chart("ostro-operator"), "--namespace", "ostro"];
    cluster.run(&[&words[..], &["--create-namespace", "--set", &set, "--wait", "--timeout", "90s"]].concat());
}

#[test]
fn a_model_answers_through_its_service_while_its_pods_are_replaced() {
    let Some(cluster) = Cluster::with_nodes("test-serving") else { return };
    let model = model::ensure_gguf("smollm2-135m-instruct").unwrap();
    let folder = tempfile::tempdir().unwrap();
    cluster.run(&["up", "--nodes", "1"]);
    cluster.run(&["load", images(folder.path()).to_str().unwrap()]);
    install(&cluster);

    apply(&cluster, &object(&model, 8));
    await_ready(&cluster);
    apply(&cluster, &load());
    await_until("clients", || {
        let words = ["get", "pod", "load", "--output", "jsonpath={.status.phase}"];
        cluster.kubectl(&words) == "Running"
    });
    apply(&cluster, &object(&model, 4));
    await_until("the second generation", || {
        let words = ["get", "deployment", "chat", "--output", "jsonpath={.status.observedGeneration}"];
        cluster.kubectl(&words) == "2"
    });
    await_ready(&cluster);
    cluster.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load", "--timeout=180s"]);
    let told: Value = serde_json::from_str(&cluster.kubectl(&["logs", "load"])).unwrap();
    let run = &told["runs"][0];
    assert_eq!((&run["succeeded"], &run["errors"]), (&json!(150), &json!({})), "{told}");

    cluster.kubectl(&["delete", "infd/chat"]);
    await_until("all of it to go", || {
        let kinds = "deployments,replicasets,pods,services,configmaps,serviceaccounts";
        let words = ["get", kinds, "--selector", "app.kubernetes.io/instance=chat", "--output", "name"];
        cluster.kubectl(&words).is_empty()
    });
}
