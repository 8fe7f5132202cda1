//! Another version of the operator by Helm: no pod is replaced or restarted, and what the new one would change waits.

use serde_json::{Value, json};

use crate::objects::{get, pods};
use crate::support::chart::helm;
use crate::support::helm::{CHARTS, NAMESPACE, RELEASE};
use crate::support::{Cluster, await_until};

pub(crate) fn by_helm(cluster: &Cluster) {
    let before = running(cluster);
    let chart = format!("{CHARTS}/ostro-operator");
    // An image that no node has: pods that were replaced would not start.
    let other = ["--reuse-values", "--set", "daemonImage.tag=next"];
    run(cluster, &[&["upgrade", RELEASE, &chart], &other[..]].concat());
    await_until("the new operator to tell what waits", || {
        pending(cluster).is_some_and(|told| told.contains("would change spec.containers[ostro].image"))
    });
    assert_eq!(running(cluster), before);
    run(cluster, &["rollback", RELEASE, "1"]);
    await_until("nothing to wait", || pending(cluster).is_none());
    assert_eq!(running(cluster), before);
}

fn run(cluster: &Cluster, words: &[&str]) {
    helm(cluster, &[words, &["--namespace", NAMESPACE, "--wait", "--timeout", "90s"]].concat());
}

/// Who the pods are, and how often their daemons were started.
fn running(cluster: &Cluster) -> Vec<Value> {
    let pods = pods(cluster, "chat");
    assert_eq!(pods.len(), 2, "{pods:#?}");
    let of =
        |pod: &Value| json!([pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]]);
    pods.iter().map(of).collect()
}

fn pending(cluster: &Cluster) -> Option<String> {
    let object = get(cluster, &["infd", "chat"]);
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == "TemplateUpdatePending")?;
    Some(found["message"].as_str().unwrap().to_owned())
}
