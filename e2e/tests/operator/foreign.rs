//! What others have written where the operator writes.

use serde_json::{Value, json};

use crate::support::{Cluster, await_until};
use crate::{applies, await_ready, children, condition, get, manifest};

/// Beside an object `m` of this spec that has three ready replicas, and has them again at the end.
pub(crate) fn check(cluster: &Cluster, spec: &Value) {
    check_children(cluster, spec);
    check_revisions(cluster, spec);
    check_conditions(cluster);
    check_pods(cluster);
    check_refusals(cluster);
}

fn check_children(cluster: &Cluster, spec: &Value) {
    // What somebody else owns is left alone, and named.
    cluster.kubectl(&["create", "service", "clusterip", "taken", "--tcp=80", "--namespace", "shop"]);
    cluster.apply(&manifest("taken", spec));
    await_until("the reason", || {
        let ready = condition(cluster, "taken", "Ready");
        ready.is_some_and(|ready| {
            ready["reason"] == "ApplyFailed"
                && ready["message"].as_str().unwrap().contains("is not this object's")
        })
    });
    cluster.kubectl(&["delete", "infd/taken", "--namespace", "shop"]);
    cluster.kubectl(&["get", "service/taken", "--namespace", "shop"]);

    // A changed child is put right.
    cluster.kubectl(&["scale", "deployment/m", "--replicas=1", "--namespace", "shop"]);
    await_until("the replicas to come back", || get(cluster, "deployment/m")["spec"]["replicas"] == 3);
    await_ready(cluster, "m", "3/3");
}

/// Their data never changes, and the API server refuses whoever sends it in other bytes.
fn check_revisions(cluster: &Cluster, spec: &Value) {
    let ready = |name: &str| condition(cluster, name, "Ready").unwrap_or_default()["reason"].clone();
    cluster.apply(&manifest("back", spec));
    await_ready(cluster, "back", "1/1");
    let mut wrong = spec.clone();
    wrong["podTemplatePatch"] = json!({ "spec": { "restartPolicy": "Never" } });
    cluster.apply(&manifest("back", &wrong));
    await_until("pods to be refused", || ready("back") == "InvalidConfig");
    cluster.apply(&manifest("back", spec));
    await_until("the spec of before to do", || ready("back") == "AllReady");

    let of_back = ["--selector", "app.kubernetes.io/instance=back", "--namespace", "shop"];
    let unlabel = ["label", "controllerrevisions", "app.kubernetes.io/managed-by-"];
    cluster.kubectl(&[&unlabel[..], &of_back].concat());
    let managed = "app.kubernetes.io/instance=back,app.kubernetes.io/managed-by=ostro-operator";
    let managed =
        ["get", "controllerrevisions", "--namespace", "shop", "--output", "name", "--selector", managed];
    await_until("the label to come back", || cluster.kubectl(&managed).lines().count() == 1);
    await_until("all to be well", || ready("back") == "AllReady");

    check_orphans(cluster, spec);
    cluster.kubectl(&["delete", "infd/back", "--namespace", "shop"]);
    await_until("the children to go", || children(cluster, "back").is_empty());
}

/// What Kubernetes leaves of an object is that of the next one of its name, and its pods go on.
fn check_orphans(cluster: &Cluster, spec: &Value) {
    let made = || get(cluster, "deployment/back")["metadata"]["uid"].clone();
    let (before, all) = (made(), children(cluster, "back"));
    cluster.kubectl(&["delete", "infd/back", "--cascade=orphan", "--timeout=30s", "--namespace", "shop"]);
    assert_eq!(children(cluster, "back"), all);
    cluster.apply(&manifest("back", spec));
    await_ready(cluster, "back", "1/1");
    assert_eq!((made(), children(cluster, "back")), (before, all));
    let generation = get(cluster, "deployment/back")["metadata"]["generation"].clone();
    let disown = json!([{ "op": "remove", "path": "/metadata/ownerReferences" }]).to_string();
    cluster.kubectl(&["patch", "deployment/back", "--type=json", "--patch", &disown, "--namespace", "shop"]);
    await_until("its owner to come back", || {
        let deployment = get(cluster, "deployment/back");
        deployment["metadata"]["ownerReferences"][0]["name"] == "back"
            && deployment["metadata"]["generation"] == generation
    });
}

/// The operator's own go as they came; those of other types are their writers'.
fn check_conditions(cluster: &Cluster) {
    for kind in ["Scanned", "Stalled"] {
        let written = json!({
            "type": kind, "status": "True", "reason": "ByHand", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let change = json!([{ "op": "add", "path": "/status/conditions/-", "value": written }]).to_string();
        let words = ["--subresource=status", "--type=json", "--namespace", "shop", "--patch", &change];
        cluster.kubectl(&[&["patch", "infd/m"], &words[..]].concat());
        if kind == "Stalled" {
            await_until("a condition to go", || condition(cluster, "m", kind).is_none());
        }
    }
    assert!(condition(cluster, "m", "Scanned").is_some());
    assert_eq!(condition(cluster, "m", "Ready").unwrap()["status"], "True");
}

/// One that has the labels of a pod of the object, and is nobody's.
fn check_pods(cluster: &Cluster) {
    let pods = get(cluster, "pods")["items"].as_array().unwrap().clone();
    let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "m").unwrap();
    let mut labels = pod["metadata"]["labels"].clone();
    labels.as_object_mut().unwrap().remove("pod-template-hash");
    let stray = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "stray", "namespace": "shop", "labels": labels },
        "spec": {
            "containers": [{
                "name": "ostro", "image": "x", "securityContext": pod["spec"]["containers"][0]["securityContext"],
            }],
            "securityContext": pod["spec"]["securityContext"],
            "nodeSelector": { "no": "node" },
        },
    });
    cluster.apply(&stray.to_string());
    await_until("the scheduler to look", || {
        let status = &get(cluster, "pod/stray")["status"];
        status["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["status"] == "False"))
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(condition(cluster, "m", "Ready").unwrap()["reason"], "AllReady");
    cluster.kubectl(&["delete", "pod/stray", "--namespace", "shop"]);
}

/// Of several faults the API server tells in another order each time, which is no news.
fn check_refusals(cluster: &Cluster) {
    let labels: Value = (0..12).map(|number| (format!("bad key {number}"), json!("x"))).collect();
    let patch = json!({ "metadata": { "labels": labels } });
    let spec = json!({ "models": [{ "modelId": "a/b" }], "replicas": 0, "podTemplatePatch": patch });
    cluster.apply(&manifest("refused", &spec));
    await_until("the refusal", || {
        condition(cluster, "refused", "Stalled").is_some_and(|stalled| stalled["reason"] == "InvalidConfig")
    });
    let before = applies(cluster);
    std::thread::sleep(std::time::Duration::from_secs(5));
    let writes = applies(cluster) - before;
    assert!(writes <= 2, "{writes} writes in 5 s");
    let message = condition(cluster, "refused", "Ready").unwrap()["message"].to_string();
    assert!(message.contains("bad key 0") && message.contains(" more"), "{message}");
    cluster.kubectl(&["delete", "infd/refused", "--namespace", "shop"]);
}
