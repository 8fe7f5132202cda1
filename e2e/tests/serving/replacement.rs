//! Pods are replaced while clients ask: no request is lost.

use serde_json::{Value, json};

use crate::objects::{await_phase, await_ready, client, get, load, pods};
use crate::support::{Cluster, await_until};

/// Those on their way out too.
const PODS: [&str; 6] = ["get", "pods", "--selector", "app.kubernetes.io/instance=chat", "--output", "name"];

/// At two a second in the mean: for half as long again as a replacement takes.
const REQUESTS: &str = "84";

/// Clients ask from before the update until the replaced pod has gone, and no faster than two slow processors that load
/// a model beside it answer.
pub(crate) fn rolling_update(cluster: &Cluster, object: &Value) {
    let before = cluster.kubectl(&PODS);
    cluster.apply(&client("updated", None, &load(&["--rate", "2", "--requests", REQUESTS])));
    await_phase(cluster, "updated", "Running");
    cluster.apply(object);
    await_ready(cluster, "chat");
    await_until("the replaced pod to go", || {
        let now = cluster.kubectl(&PODS);
        before.lines().all(|pod| !now.lines().any(|other| other == pod))
    });
    await_phase(cluster, "updated", "Running");
    check_answers(cluster, "updated");
}

/// Of the node that has one of two replicas; clients and DNS are on the other. `check_drained` says what they got.
pub(crate) fn drain(cluster: &Cluster) {
    let dns = get(cluster, &["pods", "--namespace", "kube-system", "--selector", "k8s-app=kube-dns"]);
    let stays = dns["items"][0]["spec"]["nodeName"].as_str().unwrap();
    let drained = if stays == "node1" { "node2" } else { "node1" };
    let has_left = |pods: &[Value]| pods.iter().all(|pod| pod["spec"]["nodeName"] == stays);
    assert!(!has_left(&pods(cluster, "chat")), "no pod is on {drained}");

    // Requests at this rate come whether the last is answered or not.
    cluster.apply(&client("drained", Some(stays), &load(&["--rate", "2", "--requests", REQUESTS])));
    await_phase(cluster, "drained", "Running");
    cluster.kubectl(&["drain", drained, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"]);
    await_phase(cluster, "drained", "Running");
    await_ready(cluster, "chat");
    let pods = pods(cluster, "chat");
    assert!(pods.len() == 2 && has_left(&pods), "{pods:#?}");
    cluster.kubectl(&["uncordon", drained]);
    await_ready(cluster, "chat");
}

/// Clients ask for longer than a drain takes, by their rate.
pub(crate) fn check_drained(cluster: &Cluster) {
    check_answers(cluster, "drained");
}

fn check_answers(cluster: &Cluster, pod: &str) {
    await_until("clients to end", || {
        cluster.kubectl(&["get", "pod", pod, "--output", "jsonpath={.status.phase}"]) != "Running"
    });
    let told: Value = serde_json::from_str(&cluster.kubectl(&["logs", pod])).unwrap();
    let run = &told["runs"][0];
    assert_eq!(
        (&run["succeeded"], &run["errors"]),
        (&json!(REQUESTS.parse::<u32>().unwrap()), &json!({})),
        "{told}"
    );
}
