//! `kubectl ostro`, run by kubectl itself, beside an operator on a real control plane with simulated nodes: what it
//! says of an object is what the operator then does.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use support::operator::{Operator, apply_api, kubectl_ostro, object};
use support::{Cluster, await_until};

const IMAGE: &str = "registry.local/ostro:1";

fn start_operator(cluster: &Cluster) -> Operator {
    Operator::start(cluster, &["--image", IMAGE])
}

fn manifest(spec: &Value) -> String {
    object("shop", "m", spec).to_string()
}

/// Exit code, standard output and errors of `kubectl ostro`.
fn ostro(cluster: &Cluster, words: &[&str], input: &str) -> (i32, String, String) {
    let mut command = kubectl_ostro(cluster, words);
    command.env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn plan(cluster: &Cluster, spec: &Value) -> (i32, String) {
    let (code, text, errors) =
        ostro(cluster, &["plan", "--image", IMAGE, "--namespace", "shop", "-f", "-"], &manifest(spec));
    assert!(code <= 1, "{errors}");
    (code, text)
}

fn check_plan(cluster: &Cluster, spec: &Value, expected: &[&str]) {
    let (code, text) = plan(cluster, spec);
    let is_changing = expected.iter().any(|line| line.starts_with(['+', '~', '-']));
    assert_eq!(code, i32::from(is_changing), "{text}");
    for line in expected {
        assert!(text.lines().any(|found| found == *line), "{line:?} is not in\n{text}");
    }
}

fn await_ready(cluster: &Cluster, replicas: &str) {
    await_until("status to be ready", || {
        let (code, text, _) = ostro(cluster, &["status", "m", "--namespace", "shop"], "");
        code == 0 && text.contains(&format!("Deployment m  {replicas} of {replicas} ready"))
    });
}

fn pod_uids(cluster: &Cluster) -> Vec<String> {
    let words = ["get", "pods", "--namespace", "shop", "--output", "json"];
    let pods: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    let uids = pods["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["uid"].to_string());
    let mut uids: Vec<String> = uids.collect();
    uids.sort();
    uids
}

#[test]
fn what_kubectl_ostro_says_is_what_the_operator_does() {
    let Some(cluster) = Cluster::with_simulated_nodes("test-plugin") else { return };
    cluster.run(&["up", "--control-plane-only"]);
    cluster.kubectl(&["create", "namespace", "shop"]);
    let (code, _, errors) = ostro(&cluster, &["status", "-A"], "");
    assert!(code == 2 && errors.contains("the CRD is not installed"), "{errors}");
    apply_api(&cluster);
    let (code, _, errors) = ostro(&cluster, &["status", "m", "--namespace", "shop"], "");
    assert_eq!((code, errors.trim()), (2, "error: there is no InferenceDeployment m in namespace shop"));

    // A new object: nothing of it is there before, all is after.
    let spec = json!({ "models": [{ "modelId": "a/b" }], "resources": { "requests": { "cpu": "100m" } } });
    check_plan(&cluster, &spec, &["+ InferenceDeployment m", "+ Service m", "+ Deployment m"]);
    let found =
        cluster.kubectl(&["get", "infd,deployments,services", "--namespace", "shop", "--output", "name"]);
    assert_eq!(found, "", "a plan has written");
    cluster.apply(&manifest(&spec));
    let (code, text, _) = ostro(&cluster, &["status", "m", "--namespace", "shop"], "");
    assert!(code == 1 && text.contains("the operator has not seen it yet"), "{text}");
    let _operator = start_operator(&cluster);
    await_ready(&cluster, "1");
    check_plan(&cluster, &spec, &["= InferenceDeployment m", "= Deployment m", "no pod restarts"]);
    let (code, text, errors) = ostro(&cluster, &["plan", "m", "--namespace", "shop"], "");
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");

    // More replicas: pods stay.
    let pods = pod_uids(&cluster);
    let mut more = spec.clone();
    more["replicas"] = json!(2);
    let expected = [
        "~ InferenceDeployment m",
        "+ PodDisruptionBudget m",
        "    spec.replicas: 1 -> 2",
        "no pod restarts",
        "Deployment m goes from 1 to 2 replicas",
    ];
    check_plan(&cluster, &more, &expected);
    cluster.apply(&manifest(&more));
    await_ready(&cluster, "2");
    let both = pod_uids(&cluster);
    assert!(both.len() == 2 && both.contains(&pods[0]), "{pods:?} {both:?}");

    // A file that no longer says it takes it back.
    check_plan(&cluster, &spec, &["- PodDisruptionBudget m", "    spec.replicas: 2 -> 1"]);

    // Another configuration: all pods are replaced.
    more["runtime"] = json!({ "maxSeqs": 4 });
    let (code, text) = plan(&cluster, &more);
    assert!(code == 1 && text.contains("      + max_seqs = 4"), "{text}");
    assert!(text.contains("all 2 pods of Deployment m restart"), "{text}");
    assert!(text.contains("    spec.volumes[config].configMap.name (the daemon's configuration)"), "{text}");
    assert!(text.contains("\n+ ConfigMap m-config-") && text.contains("\n- ConfigMap m-config-"), "{text}");
    cluster.apply(&manifest(&more));
    await_until("new pods", || pod_uids(&cluster).iter().all(|pod| !both.contains(pod)));
    await_ready(&cluster, "2");

    let (_, text, _) = ostro(&cluster, &["status", "m", "--namespace", "shop", "-o", "json"], "");
    let view: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((view["ready"].clone(), view["pods"].as_array().unwrap().len()), (json!(true), 2), "{view}");
    assert_eq!(view["endpoint"], "http://m.shop.svc/v1");

    // What the API server refuses, a plan refuses.
    more["runtime"]["maxSeqs"] = json!(-1);
    let (code, _, errors) = ostro(&cluster, &["plan", "--namespace", "shop", "-f", "-"], &manifest(&more));
    assert!(code == 2 && errors.contains("spec.runtime.maxSeqs"), "{errors}");
}
