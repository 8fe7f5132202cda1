//! The charts on a cluster, installed by Helm.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Cluster;
use super::helm::{CHARTS, NAMESPACE, RELEASE};
use super::operator::Operator;

/// The cluster's kubeconfig, with a token of the service account in place of the administrator's certificate.
fn kubeconfig(cluster: &Cluster) -> PathBuf {
    let token = cluster.kubectl(&["create", "token", RELEASE, "--namespace", NAMESPACE]);
    let text = cluster.kubectl(&["config", "view", "--raw", "--flatten", "--output", "json"]);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({ "token": token.trim() });
    let path = PathBuf::from(cluster.folder()).join("operator-kubeconfig.json");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

pub fn helm(cluster: &Cluster, words: &[&str]) {
    cluster.run(&[&["exec", "--", "helm"], words].concat());
}

pub fn install_api(cluster: &Cluster) {
    helm(cluster, &["install", "ostro-crds", &format!("{CHARTS}/ostro-crds")]);
    cluster.await_established(&["crd/inferencedeployments.inference.ostro.dev"]);
}

/// `helm install` or `helm upgrade` of the operator.
pub fn release(cluster: &Cluster, verb: &str, values: &str) {
    let chart = format!("{CHARTS}/ostro-operator");
    let words =
        [verb, RELEASE, &chart, "--namespace", NAMESPACE, "--set", values, "--wait", "--timeout", "60s"];
    helm(cluster, &words);
}

/// With the rights of the chart's service account.
pub fn start_operator(cluster: &Cluster, words: &[&str]) -> Operator {
    let kubeconfig = format!("KUBECONFIG={}", kubeconfig(cluster).display());
    let all = ["--image", "registry.local/ostro:1", "--lease-namespace", NAMESPACE];
    Operator::start_by(cluster, &["env", &kubeconfig], &[&all[..], words].concat())
}
