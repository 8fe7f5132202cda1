//! What the API server takes and the operator's types cannot read stops nothing but its own object.

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Deeper than JSON is read.
fn deep() -> Value {
    (0..200).fold(json!({}), |inner, _| json!({ "a": inner }))
}

fn put_as(api: &FakeApi, name: &str, fields: Value) {
    let mut object = object(fields);
    object["metadata"]["name"] = name.into();
    api.put(GROUP, "inferencedeployments", object);
}

fn stalled(api: &FakeApi, name: &str) -> Option<String> {
    let condition = condition_of(api, name, "Stalled").filter(|stalled| stalled["status"] == "True")?;
    Some(format!("{}: {}", condition["reason"].as_str()?, condition["message"].as_str()?))
}

async fn await_stalled(api: &FakeApi, name: &str, words: &str) {
    let is_told = || stalled(api, name).is_some_and(|told| told.contains(words));
    await_within(SOON, words, is_told).await;
}

/// Before the operator starts, which lists them, and after, when it watches.
#[tokio::test(start_paused = true)]
async fn an_unreadable_object_is_told_and_stops_no_other() {
    let api = FakeApi::default();
    let budget = || json!({ "replicas": 3, "disruptionBudget": { "minAvailable": 99_999_999_999_u64 } });
    put_as(&api, "listed", budget());
    put_as(&api, "deep", json!({ "podTemplatePatch": deep() }));
    let _operator = Operator::start(&api, Scope::Cluster);
    let words = "InvalidConfig: spec.disruptionBudget.minAvailable cannot be read: ";
    await_stalled(&api, "listed", words).await;
    await_stalled(&api, "deep", "InvalidConfig: spec.podTemplatePatch").await;
    tokio::time::sleep(SOON).await;
    let writes = api.writes();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(api.writes(), writes, "also the answer to a status is read");
    let listed = api.get(GROUP, "inferencedeployments", "listed").unwrap();
    assert_eq!(listed["status"]["replicasReady"], "0/3");

    put_as(&api, "watched", budget());
    await_stalled(&api, "watched", words).await;
    put(&api, json!({}));
    await_within(SOON, "another object's pods", || api.get("apps", "deployments", "m").is_some()).await;
    put_as(&api, "watched", json!({}));
    await_within(SOON, "its pods, once it can be read", || {
        api.get("apps", "deployments", "watched").is_some()
    })
    .await;
    assert_eq!(stalled(&api, "watched"), None);
}

#[tokio::test(start_paused = true)]
async fn what_others_label_as_the_operators_stops_nothing() {
    let api = FakeApi::default();
    let labels = json!({ "app.kubernetes.io/managed-by": "ostro-operator" });
    api.put(
        "apps",
        "controllerrevisions",
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": deep(),
            "metadata": { "name": "other", "namespace": "n", "labels": labels },
        }),
    );
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
}

/// A time that the API server takes, and no library of ours.
const LATE: &str = "9999-12-31T23:59:59Z";

#[tokio::test(start_paused = true)]
async fn a_condition_of_others_that_cannot_be_read_is_left_and_makes_no_writes() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    tokio::time::sleep(SOON).await;
    let mut object = api.get(GROUP, "inferencedeployments", "m").unwrap();
    let foreign = json!({
        "type": "Scanned", "status": "True", "reason": "r", "message": "", "lastTransitionTime": LATE,
    });
    object["status"]["conditions"].as_array_mut().unwrap().push(foreign.clone());
    let status = object["status"].clone();
    let writes = api.writes();
    api.put(GROUP, "inferencedeployments", object);
    tokio::time::sleep(SOON).await;
    assert_eq!(api.writes(), writes);
    assert_eq!(api.get(GROUP, "inferencedeployments", "m").unwrap()["status"], status);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_read_stops_nothing() {
    let api = FakeApi::default();
    let labels = json!({ "app.kubernetes.io/managed-by": "ostro-operator" });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "late", "namespace": "n", "labels": labels,
            "managedFields": [{ "manager": "x", "operation": "Update", "time": LATE }],
        },
    });
    api.put("", "pods", pod);
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
}
