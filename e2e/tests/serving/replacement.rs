//! Pods are replaced while clients ask: no request is lost.

use serde_json::{Value, json};

use crate::objects::{apply, await_phase, await_ready, client, load, pods};
use crate::support::{Cluster, await_until};

pub(crate) fn rolling_update(cluster: &Cluster, object: &Value) {
    let before = names(cluster);
    apply(cluster, &client("updated", None, &load(&["--requests", "150", "--concurrency", "4"])));
    await_phase(cluster, "updated", "Running");
    apply(cluster, object);
    await_ready(cluster, "chat");
    assert!(names(cluster).iter().all(|pod| !before.contains(pod)), "{before:?}");
    check_answers(cluster, "updated", 150);
}

fn names(cluster: &Cluster) -> Vec<String> {
    pods(cluster, "chat").iter().map(|pod| pod["metadata"]["name"].to_string()).collect()
}

fn check_answers(cluster: &Cluster, pod: &str, requests: u32) {
    await_until("clients to end", || {
        cluster.kubectl(&["get", "pod", pod, "--output", "jsonpath={.status.phase}"]) != "Running"
    });
    let told: Value = serde_json::from_str(&cluster.kubectl(&["logs", pod])).unwrap();
    let run = &told["runs"][0];
    assert_eq!((&run["succeeded"], &run["errors"]), (&json!(requests), &json!({})), "{told}");
}
