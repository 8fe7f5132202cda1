use serde_json::{Value, json};

use super::super::fake_api::{FakeApi, cluster, pod_metadata};
use super::*;

const NOW: &str = "2026-01-01T12:00:00Z";

const GATED: &str =
    "the daemon ended with code 1: a/b is gated; is spec.huggingFaceToken of an account that accepted them?";

fn object() -> Value {
    let condition = |kind: &str, status: &str| {
        json!({ "type": kind, "status": status, "reason": "HFGatedModel", "message": GATED,
            "lastTransitionTime": NOW })
    };
    json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "shop", "uid": "u", "generation": 3 },
        "spec": { "models": [{ "modelId": "a/b" }], "replicas": 2 },
        "status": {
            "observedGeneration": 3, "phase": "Degraded", "endpoint": "http://m.shop.svc/v1",
            "models": [
                { "id": "a/b", "replicasLoaded": 1, "state": "Loaded" },
                { "id": "c", "replicasLoaded": 0, "state": "Failed", "message": "no such file" },
            ],
            "conditions": [condition("Ready", "False"), condition("Available", "True")],
        },
    })
}

fn labels() -> Value {
    json!({ "app.kubernetes.io/managed-by": "ostro-operator", "app.kubernetes.io/instance": "m" })
}

/// Of a workload that the operator has made of the object.
fn workload_metadata() -> Value {
    let owner = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "name": "m", "uid": "u",
        "controller": true,
    });
    json!({ "name": "m", "namespace": "shop", "labels": labels(), "ownerReferences": [owner] })
}

fn pod(name: &str, created: &str, status: Value) -> Value {
    let mut metadata = pod_metadata(name);
    metadata["creationTimestamp"] = created.into();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": { "nodeName": "node-0", "containers": [] }, "status": status,
    })
}

fn api() -> FakeApi {
    let crashed = json!({ "phase": "Running", "containerStatuses": [{
        "name": "ostro", "ready": false, "restartCount": 12, "image": "i", "imageID": "",
        "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] });
    let fine = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [{
        "name": "ostro", "ready": true, "restartCount": 1, "image": "i", "imageID": "",
        "state": { "running": {} } }] });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": workload_metadata(),
        "spec": { "replicas": 2 }, "status": { "readyReplicas": 1, "updatedReplicas": 2 },
    });
    let other = json!({ "metadata": { "name": "other", "namespace": "shop" }, "spec": { "containers": [] } });
    FakeApi::with(&[
        ("/apis/inference.ostro.dev/v1alpha1/namespaces/shop/inferencedeployments/m", object()),
        ("/apis/apps/v1/namespaces/shop/deployments/m", deployment),
        ("/api/v1/namespaces/shop/pods/m-1", pod("m-1", "2026-01-01T11:55:00Z", crashed)),
        ("/api/v1/namespaces/shop/pods/m-22", pod("m-22", "2025-12-30T12:00:00Z", fine)),
        ("/api/v1/namespaces/shop/pods/other", other),
    ])
}

async fn views_of(api: FakeApi) -> Vec<View> {
    let cluster = cluster(api);
    let objects = list(&cluster, Scope::Namespace).await.unwrap();
    views(&objects, &children(&cluster, Scope::Namespace).await.unwrap())
}

async fn found() -> Vec<View> {
    views_of(api()).await
}

#[tokio::test]
async fn a_tree_tells_the_cause_beside_the_pods() {
    let expected = "\
InferenceDeployment shop/m  Degraded
├─ HFGatedModel: the daemon ended with code 1: a/b is gated; is spec.huggingFaceToken of an account that accepted them?
├─ conditions
│  ├─ Ready      False  HFGatedModel
│  └─ Available  True   HFGatedModel
├─ model a/b  loaded in 1 of 2 replicas
├─ model c  loaded in 0 of 2 replicas  Failed: no such file
├─ endpoint http://m.shop.svc/v1
└─ Deployment m  1 of 2 ready, 2 with this spec
   ├─ Pod m-1   CrashLoopBackOff  not ready  node-0  12 restarts  5m
   └─ Pod m-22  Running           ready      node-0  1 restart    2d
";
    assert_eq!(tree::text(&found().await, NOW.parse().unwrap()), expected);
}

#[test]
fn no_text_of_an_object_steers_the_terminal() {
    let mut object = object();
    object["status"]["models"][0]["id"] = "\u{1b}]0;x\u{7}\nmodel b".into();
    object["status"]["conditions"][0]["message"] = "fine\r\u{9b}2J\nPod m-1\u{202e}".into();
    let view = view(&serde_json::from_value(object).unwrap());
    let text = tree::text(&[view], NOW.parse().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "├─ HFGatedModel: fine\\r\\u{9b}2J");
    assert_eq!(lines[2], "├─ Pod m-1\\u{202e}");
    assert!(text.contains("├─ model \\u{1b}]0;x\\u{7}\\nmodel b  loaded"), "{text}");
}

#[tokio::test]
async fn json_has_the_same() {
    let view = serde_json::to_value(&found().await[0]).unwrap();
    assert_eq!(view["ready"], false);
    assert_eq!(
        view["workloads"][0],
        json!({ "kind": "Deployment", "name": "m", "replicas": 2, "ready": 1, "updated": 2 })
    );
    assert_eq!(view["pods"][0]["phase"], "CrashLoopBackOff");
    assert_eq!(view["pods"][1]["created"], "2025-12-30T12:00:00Z");
    assert_eq!(view["models"][0]["replicasLoaded"], 1);
}

#[test]
fn pods_of_a_job_are_below_it() {
    let pods = ["m-1", "m-prefetch-7-x"].map(|name| {
        let mut pod = pod(name, NOW, json!({ "phase": "Running" }));
        if name.contains("prefetch") {
            pod["metadata"]["labels"][JOB_NAME] = "m-prefetch-7".into();
        }
        serde_json::from_value(pod).unwrap()
    });
    let pods = pods.iter().map(super::pod).collect();
    let deployment =
        Workload { kind: "Deployment".to_owned(), name: "m".to_owned(), replicas: 1, ready: 0, updated: 0 };
    let view = View { name: "m".to_owned(), pods, workloads: vec![deployment], ..View::default() };
    let text = tree::text(&[view], NOW.parse().unwrap());
    let expected = "\
├─ Job m-prefetch-7
│  └─ Pod m-prefetch-7-x  Running  not ready  node-0  0 restarts  0s
└─ Deployment m  0 of 1 ready, 0 with this spec
   └─ Pod m-1  Running  not ready  node-0  0 restarts  0s
";
    assert!(text.ends_with(expected), "{text}");
}

/// Nor is a pod that prunes a replica.
#[tokio::test]
async fn labels_alone_make_nothing_an_objects() {
    let controller = |kind: &str, name: &str| json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": "c", "controller": true }]);
    let foreign = json!({ "metadata": { "name": "a", "namespace": "shop", "labels": labels() } });
    let mut objects = vec![
        ("/apis/inference.ostro.dev/v1alpha1/namespaces/shop/inferencedeployments/m".to_owned(), object()),
        ("/apis/apps/v1/namespaces/shop/deployments/a".to_owned(), foreign),
    ];
    for (name, owners) in [
        ("download", controller("Job", "m-prefetch-1")),
        ("foreign", controller("ReplicaSet", "a-5d4")),
        ("own", controller("ReplicaSet", "m-5d4")),
        ("pruning", controller("Job", "m-prune-1")),
        ("replica", controller("StatefulSet", "m")),
        ("stray", json!([])),
    ] {
        let mut pod = pod(name, NOW, json!({}));
        pod["metadata"]["ownerReferences"] = owners;
        objects.push((format!("/api/v1/namespaces/shop/pods/{name}"), pod));
    }
    let objects: Vec<(&str, Value)> =
        objects.iter().map(|(path, object)| (path.as_str(), object.clone())).collect();
    let views = views_of(FakeApi::with(&objects)).await;
    let pods: Vec<&str> = views[0].pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((views[0].workloads.len(), pods), (0, vec!["download", "own", "replica"]));
}

/// A list's items need not say their kind.
#[tokio::test]
async fn a_stateful_set_is_a_workload() {
    let set = json!({
        "metadata": workload_metadata(),
        "spec": { "replicas": 2 }, "status": { "readyReplicas": 2, "updatedReplicas": 2 },
    });
    let api = FakeApi::with(&[
        ("/apis/inference.ostro.dev/v1alpha1/namespaces/shop/inferencedeployments/m", object()),
        ("/apis/apps/v1/namespaces/shop/statefulsets/m", set),
    ]);
    let text = tree::text(&views_of(api).await, NOW.parse().unwrap());
    assert!(text.contains("StatefulSet m  2 of 2 ready, 2 with this spec"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_read_is_shown_beside_the_rest() {
    let mut other = object();
    other["metadata"]["name"] = "other".into();
    other["spec"]["disruptionBudget"] = json!({ "minAvailable": 99_999_999_999_i64 });
    let rest = api();
    let api = FakeApi::answering(move |asked| match asked.line.contains("/inferencedeployments?") {
        true => (200, json!({ "items": [other, object()] })),
        false => rest.handle(asked.clone()),
    });
    let text = tree::text(&views_of(api).await, NOW.parse().unwrap());
    let expected = "InferenceDeployment shop/other  Unknown
└─ error: this version cannot read it: spec.disruptionBudget.minAvailable: ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("\nInferenceDeployment shop/m  Degraded\n") && text.contains("Pod m-22"), "{text}");
}

#[tokio::test]
async fn what_may_not_be_listed_is_left_out() {
    let rest = api();
    let api = FakeApi::answering(move |asked| match asked.line.contains("/inferencedeployments") {
        true => rest.handle(asked.clone()),
        false => (
            403,
            json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": "pods is forbidden" }),
        ),
    });
    let found = children(&cluster(api.clone()), Scope::Namespace).await.unwrap();
    assert_eq!(found.hidden, ["deployments", "statefulsets", "pods"]);
    let text = tree::text(&views_of(api).await, NOW.parse().unwrap());
    assert!(text.ends_with("└─ endpoint http://m.shop.svc/v1\n"), "{text}");
}

#[test]
fn what_is_pending_tells_how_to_release_it() {
    let mut object = object();
    object["status"]["conditions"][1] = json!({ "type": "TemplateUpdatePending", "status": "True",
        "reason": "SpecHeld", "message": "pods wait: run kubectl annotate", "lastTransitionTime": NOW });
    let view = view(&serde_json::from_value(object).unwrap());
    let text = tree::text(&[view], NOW.parse().unwrap());
    assert_eq!(text.lines().nth(2), Some("├─ SpecHeld: pods wait: run kubectl annotate"), "{text}");
}

#[test]
fn ready_is_only_what_is_ready_with_the_latest_spec() {
    let check = |change: fn(&mut Value), ready: bool, message: &str| {
        let mut object = object();
        object["status"]["conditions"][0]["status"] = "True".into();
        change(&mut object);
        let view = view(&serde_json::from_value(object).unwrap());
        assert_eq!(view.ready, ready, "{}", view.message);
        assert!(view.message.starts_with(message), "{}", view.message);
    };
    check(|_| {}, true, "HFGatedModel: ");
    check(|object| object["status"]["conditions"][0]["status"] = "False".into(), false, "HFGatedModel: ");
    check(
        |object| object["metadata"]["generation"] = 4.into(),
        false,
        "the operator has not seen the latest change",
    );
    check(|object| object["status"] = Value::Null, false, "the operator has not seen it yet");
}
