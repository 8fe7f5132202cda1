//! Another cluster by its kubeconfig (`OSTRO_E2E_KUBECONFIG`, else a control plane that is started for it): its API
//! server is held to the tables of rules, and an operator beside it makes and removes an object's children. No pods are
//! made, so that no images are needed.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod rules;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::operator::{CRD, Operator, apply_api, object};
use support::{Cluster, await_until};

const NAMESPACE: &str = "ostro-e2e";

fn manifest(name: &str, spec: &Value) -> String {
    object(NAMESPACE, name, spec).to_string()
}

fn names(cluster: &Cluster, what: &str) -> Vec<String> {
    let words = ["get", what, "--namespace", NAMESPACE, "--output", "name"];
    cluster.kubectl(&words).lines().map(str::to_owned).collect()
}

#[test]
fn another_clusters_kubeconfig_works() {
    let Some(base) = Cluster::with_simulated_nodes("test-base") else { return };
    let file = match std::env::var("OSTRO_E2E_KUBECONFIG") {
        Ok(file) => file,
        Err(_) => base.run(&["up", "--control-plane-only"]).trim().to_owned(),
    };
    let cluster = Cluster::with_simulated_nodes("test-given").unwrap();
    let refused = cluster.try_run(&["up", "--kubeconfig", "/dev/null"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/dev/null is not a file"), "{refused:?}");
    cluster.run(&["up", "--kubeconfig", &file]);
    cluster.run(&["status"]);
    let refused = cluster.try_run(&["load", &file]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("by its own means"), "{refused:?}");

    let had_api = cluster.kubectl(&["get", "crd", "--output", "name"]).contains(CRD);
    apply_api(&cluster);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    rules::check(&cluster);
    reconcile(&cluster);
    cluster.kubectl(&["delete", "namespace", NAMESPACE]);
    if !had_api {
        cluster.kubectl(&["delete", "crd", CRD]);
    }

    cluster.run(&["down"]);
    assert_eq!(cluster.leftovers(), [""; 0]);
    let words = ["--kubeconfig", &file, "get", "namespaces", "--output", "name"];
    let output = Command::new(cluster_program("kubectl")).args(words).output().unwrap();
    assert!(output.status.success(), "the other cluster has gone: {output:?}");
}

fn reconcile(cluster: &Cluster) {
    let words = ["--image", "registry.local/ostro:1", "--identity", "e2e", "--namespace", NAMESPACE];
    let _operator = Operator::start(cluster, &[&words[..], &["--lease-namespace", NAMESPACE]].concat());
    cluster.apply(&manifest("m", &json!({ "models": [{ "modelId": "a/b" }], "replicas": 0 })));
    cluster.kubectl(&["wait", "--for=condition=Ready", "infd/m", "--namespace", NAMESPACE, "--timeout=60s"]);
    assert_eq!(names(cluster, "deployments,services"), ["deployment.apps/m", "service/m"]);
    cluster.kubectl(&["delete", "infd/m", "--namespace", NAMESPACE, "--cascade=foreground"]);
    await_until("the children to go", || names(cluster, "deployments,services").is_empty());
}

/// Of those that were built for clusters.
fn cluster_program(name: &str) -> std::path::PathBuf {
    ostro_e2e::cache::root().unwrap().join("cluster/bin").join(name)
}
