//! Claims of caches, which nobody makes smaller, which stay until their pods have gone, and which keep the object from
//! nothing else.

use super::ownership::orphan;
use super::*;

const SOON: Duration = Duration::from_secs(20);
const CLAIM: (&str, &str, &str) = ("", "persistentvolumeclaims", "m-cache");

fn claim(api: &FakeApi) -> Option<Value> {
    api.get(CLAIM.0, CLAIM.1, CLAIM.2)
}

fn size(api: &FakeApi) -> Value {
    claim(api).unwrap()["spec"]["resources"]["requests"]["storage"].clone()
}

fn put_sized(api: &FakeApi, size: &str) {
    put(api, json!({ "cache": { "volume": { "size": size } } }));
}

/// All is made, and nothing more is written.
async fn start(api: &FakeApi) -> Operator {
    let operator = Operator::start(api, Scope::Cluster);
    put_sized(api, "1Gi");
    await_within(SOON, "the claim", || claim(api).is_some()).await;
    tokio::time::sleep(SOON).await;
    operator
}

/// The API server makes none smaller.
#[tokio::test(start_paused = true)]
async fn a_claim_that_others_made_larger_stays_so() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut grown = claim(&api).unwrap();
    grown["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
    grown["status"] = json!({ "phase": "Bound", "capacity": { "storage": "1Gi" } });
    api.put(CLAIM.0, CLAIM.1, grown);
    let writes = api.writes();
    tokio::time::sleep(SOON).await;
    assert_eq!((api.writes(), size(&api)), (writes, json!("2Gi")));
    // Other fields are put back, and by the same apply.
    let mut changed = claim(&api).unwrap();
    changed["metadata"]["labels"]["app.kubernetes.io/instance"] = "other".into();
    api.put(CLAIM.0, CLAIM.1, changed);
    let is_back = || claim(&api).unwrap()["metadata"]["labels"]["app.kubernetes.io/instance"] == "m";
    await_within(SOON, "the label", is_back).await;
    assert_eq!(size(&api), "2Gi");
    put_sized(&api, "3Gi");
    await_within(SOON, "what the spec asks for", || size(&api) == "3Gi").await;
}

/// For which it has to go, and goes with its pods.
#[tokio::test(start_paused = true)]
async fn a_claim_that_goes_keeps_the_object_from_nothing_else() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut going = claim(&api).unwrap();
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    api.put(CLAIM.0, CLAIM.1, going);
    tokio::time::sleep(SOON).await;
    assert_ne!(told(&api, "Ready"), "False ApplyFailed", "it serves until then");
    let volume = json!({ "size": "1Gi", "accessMode": "ReadWriteMany" });
    put(&api, json!({ "cache": { "volume": volume }, "replicas": 0 }));
    let replicas = || api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"].clone();
    await_within(SOON, "no replicas", || replicas() == 0).await;
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("m-cache is being deleted: it is made anew once the pods"), "{message}");
    let modes = || claim(&api).unwrap()["spec"]["accessModes"].clone();
    assert_eq!(modes(), json!(["ReadWriteOnce"]));
    api.remove(CLAIM.0, CLAIM.1, CLAIM.2);
    await_within(SOON, "the claim", || claim(&api).is_some()).await;
    assert_eq!(modes(), json!(["ReadWriteMany"]));
    await_within(SOON, "no reason", || told(&api, "Ready") != "False ApplyFailed").await;
}

/// As of a storage class that lets no claim grow: an autoscaler must not wait for a larger cache.
#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_change_keeps_the_object_from_nothing_else() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    api.refuse(CLAIM.1);
    let workload = || api.get("apps", "deployments", "m").unwrap()["spec"].clone();
    let before = workload();
    let volume = json!({ "size": "2Gi" });
    put(&api, json!({ "cache": { "volume": volume }, "replicas": 3, "runtime": { "maxSeqs": 4 } }));
    await_within(SOON, "three replicas", || workload()["replicas"] == 3).await;
    await_within(SOON, "the configuration", || workload()["template"] != before["template"]).await;
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    assert_eq!(size(&api), "1Gi");
}

/// As by a quota: pods would wait for it.
#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_made_is_waited_for() {
    let api = FakeApi::default();
    api.refuse(CLAIM.1);
    let _operator = Operator::start(&api, Scope::Cluster);
    put_sized(&api, "1Gi");
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    assert!(api.get("apps", "deployments", "m").is_none());
}

/// As in OpenShift: who may not delete a claim may not own it either.
#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_taken_back_is_told_and_serves() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    let workload = || api.get("apps", "deployments", "m").unwrap();
    let before = workload();
    orphan(&api, operator);
    api.guard_owners(CLAIM.1);
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({ "cache": { "volume": { "size": "1Gi" } }, "replicas": 3 }));
    await_within(SOON, "three replicas", || workload()["spec"]["replicas"] == 3).await;
    assert_ne!(workload()["metadata"]["ownerReferences"], before["metadata"]["ownerReferences"]);
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("name it in spec.cache.existingClaim in place of volume"), "{message}");
    put(&api, json!({ "cache": { "existingClaim": { "name": CLAIM.2 } }, "replicas": 3 }));
    await_within(SOON, "no reason", || told(&api, "Ready") != "False ApplyFailed").await;
    assert_eq!(workload()["spec"]["template"], before["spec"]["template"]);
    assert!(claim(&api).unwrap()["metadata"]["ownerReferences"].is_null());
}
