//! Replicas with a cache each: a StatefulSet in place of the Deployment, and the way there and back.

use super::*;
use crate::inference_deployment::build::ChildKind;

const SOON: Duration = Duration::from_secs(20);

fn volume(size: &str, per_replica: bool) -> Value {
    json!({ "replicas": 2, "cache": { "volume": { "size": size, "perReplica": per_replica } } })
}

async fn await_workload(api: &FakeApi, there: &str, gone: &str) {
    await_within(SOON, there, || {
        api.get("apps", there, "m").is_some() && api.get("apps", gone, "m").is_none()
    })
    .await;
    await_within(SOON, "waiting for pods", || told(api, "Ready").starts_with("False")).await;
    make_ready_of(api, there);
    await_within(SOON, "readiness", || told(api, "Ready") == "True AllReady").await;
}

#[tokio::test(start_paused = true)]
async fn one_kind_takes_the_place_of_the_other() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, volume("1Gi", false));
    await_workload(&api, "deployments", "statefulsets").await;
    put(&api, volume("1Gi", true));
    await_workload(&api, "statefulsets", "deployments").await;
    assert!(api.get("", "services", "m-headless").is_some());
    // Nobody deletes a claim.
    assert!(api.get("", "persistentvolumeclaims", "m-cache").is_some());
    tokio::time::sleep(SOON).await;
    let writes = api.writes();
    tokio::time::sleep(Duration::from_secs(2000)).await;
    assert_eq!(api.writes(), writes);
    put(&api, volume("1Gi", false));
    await_workload(&api, "deployments", "statefulsets").await;
    assert!(api.get("", "services", "m-headless").is_none());
}

/// As when two changes come before the operator looks: the API server saw nothing wrong with either.
#[tokio::test(start_paused = true)]
async fn claims_that_cannot_change_are_named() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, volume("1Gi", true));
    await_workload(&api, "statefulsets", "deployments").await;
    put(&api, volume("2Gi", true));
    await_within(SOON, "the reason", || told(&api, "Ready") == "False InvalidConfig").await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("spec.cache.volume cannot change while perReplica is true"), "{message}");
    put(&api, volume("2Gi", false));
    await_workload(&api, "deployments", "statefulsets").await;
    put(&api, volume("2Gi", true));
    await_workload(&api, "statefulsets", "deployments").await;
}

/// A release of what waits is refused, and what waits still waits.
#[tokio::test(start_paused = true)]
async fn claims_that_wait_go_on_waiting_when_their_release_is_refused() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    let held = |size: &str, hold: &str| {
        let mut spec = volume(size, true);
        spec["rollout"] = json!({ "hold": hold });
        spec
    };
    put(&api, held("1Gi", "All"));
    await_workload(&api, "statefulsets", "deployments").await;
    put(&api, held("2Gi", "All"));
    let pending = || told(&api, "TemplateUpdatePending");
    await_within(SOON, "the condition", || pending() == "True SpecHeld").await;
    put(&api, held("2Gi", "Never"));
    await_within(SOON, "the reason", || told(&api, "Ready") == "False InvalidConfig").await;
    assert_eq!(pending(), "True SpecHeld");
}

/// The StatefulSet's status would not tell, nor would a watch.
#[tokio::test(start_paused = true)]
async fn pods_that_the_cluster_refuses_are_told_of() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, volume("1Gi", true));
    await_within(SOON, "a StatefulSet", || api.get("apps", "statefulsets", "m").is_some()).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(told(&api, "Ready"), "False RollingOut");
    // Of one that was deleted; then of this one.
    let refuse = |uid: &Value, note: &str| {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e", "namespace": "n" },
            "reason": "FailedCreate", "note": note, "eventTime": null, "regarding": { "uid": uid },
            "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
        });
        api.put("events.k8s.io", "events", event);
    };
    let note = "create Pod m-0 in StatefulSet m failed error: pods \"m-0\" is forbidden: exceeded quota: q";
    refuse(&json!("deleted"), note);
    tokio::time::sleep(SOON).await;
    assert_eq!(told(&api, "Ready"), "False RollingOut");
    refuse(&api.get("apps", "statefulsets", "m").unwrap()["metadata"]["uid"], note);
    await_within(SOON, "the quota", || told(&api, "Ready") == "False QuotaExceeded").await;
    make_ready_of(&api, "statefulsets");
    await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;
}

/// Kubernetes' own are as many again, and bear the labels of the pods.
#[tokio::test(start_paused = true)]
async fn revisions_of_the_stateful_set_are_not_kept() {
    let api = FakeApi::default();
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, volume("1Gi", true));
    await_workload(&api, "statefulsets", "deployments").await;
    let revision = |name: &str, label: &str| {
        let labels = json!({ "app.kubernetes.io/managed-by": "ostro-operator", label: "x" });
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
            "metadata": { "name": name, "namespace": "n", "labels": labels },
        })
    };
    api.put("apps", "controllerrevisions", revision("m-77d9", "controller.kubernetes.io/hash"));
    api.put("apps", "controllerrevisions", revision("m-last", "of-a-person"));
    let is_kept =
        |name: &str| operator.context.children.get(ChildKind::ControllerRevision, "n", name).is_some();
    await_within(SOON, "the later one", || is_kept("m-last")).await;
    assert!(!is_kept("m-77d9"));
}
