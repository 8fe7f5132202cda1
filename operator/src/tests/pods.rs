//! What pods that do not start come to in a status.

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn put_pod(api: &FakeApi, name: &str, status: Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata(api, name),
        "spec": { "containers": [{ "name": "ostro" }], "nodeName": "node-1" }, "status": status,
    });
    api.put("", "pods", pod);
}

/// As the kubelet has it before it has mounted the volumes.
fn creating() -> Value {
    json!({
        "phase": "Pending", "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{ "type": "PodScheduled", "status": "True" }],
        "containerStatuses": [{
            "name": "ostro", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } },
        }],
    })
}

fn put_event(api: &FakeApi, name: &str, uid: &Value, reason: &str, (second, note): (u8, &str)) {
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": name, "namespace": "n" },
        "type": if reason == "Pulling" { "Normal" } else { "Warning" }, "reason": reason, "note": note,
        "eventTime": null, "regarding": { "uid": uid },
        "deprecatedLastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
    });
    api.put("events.k8s.io", "events", event);
}

async fn start(api: &FakeApi) -> Operator {
    let operator = Operator::start(api, Scope::Cluster);
    put(api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    operator
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_mounted_is_told_until_the_kubelet_gets_on() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    put_pod(&api, "p", creating());
    tokio::time::sleep(SOON).await;
    assert_eq!(told(&api, "Ready"), "False RollingOut");
    let uid = api.get("", "pods", "p").unwrap()["metadata"]["uid"].clone();
    let note = "MountVolume.SetUp failed for volume \"files\" : configmap \"none\" not found";
    put_event(&api, "of-another", &json!("u"), "FailedMount", (1, note));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(told(&api, "Ready"), "False RollingOut");
    put_event(&api, "e", &uid, "FailedMount", (1, note));
    let limit = Duration::from_secs(61);
    await_within(limit, "the volume", || told(&api, "Ready") == "False VolumeFailed").await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("FailedMount: MountVolume.SetUp failed") && message.contains("spec.volumes"));
    put_event(&api, "pulls", &uid, "Pulling", (2, "Pulling image"));
    await_within(limit, "the image", || told(&api, "Ready") == "False RollingOut").await;
}

#[tokio::test(start_paused = true)]
async fn pods_with_the_labels_of_an_object_are_not_its_pods() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    make_ready(&api);
    await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;
    let mut metadata = pod_metadata(&api, "stray");
    metadata["ownerReferences"] = json!([]);
    let unschedulable = json!({ "type": "PodScheduled", "status": "False", "message": "no room" });
    api.put("", "pods", json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": { "conditions": [unschedulable] },
    }));
    let writes = api.writes();
    tokio::time::sleep(Duration::from_secs(2000)).await;
    assert_eq!((told(&api, "Ready").as_str(), api.writes()), ("True AllReady", writes));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_a_node_ended_is_told_until_another_is_ready() {
    let low = "The node was low on resource: memory.";
    for (mut status, code, expected) in [
        (
            json!({ "phase": "Failed", "reason": "Evicted", "message": low }),
            137,
            "a node refused or ended a pod: Evicted: The node was low",
        ),
        // Its daemon did nothing, and ended in time.
        (json!({ "phase": "Succeeded" }), 0, "a node ended a pod that stopped as it was told"),
        // Of which only events tell.
        (
            json!({ "phase": "Succeeded", "note": "Usage of x exceeds" }),
            0,
            "a pod: Evicted: Usage of x exceeds",
        ),
    ] {
        let api = FakeApi::default();
        let _operator = start(&api).await;
        let finished = jiff::Timestamp::now().to_string();
        status["containerStatuses"] = json!([{
            "name": "ostro", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": code, "finishedAt": finished } },
        }]);
        let note = status["note"].take();
        put_pod(&api, "p", status);
        if let Some(note) = note.as_str() {
            let uid = api.get("", "pods", "p").unwrap()["metadata"]["uid"].clone();
            put_event(&api, "why", &uid, "Evicted", (1, note));
        }
        await_within(SOON, "the end", || told(&api, "Ready") == "False PodFailed").await;
        let message = condition(&api, "Ready").unwrap()["message"].to_string();
        assert!(message.contains(expected), "{message}");
        make_ready(&api);
        await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;
    }
}

/// A tool that waits would give a corrected spec up at once.
#[tokio::test(start_paused = true)]
async fn what_pods_of_before_suffer_from_is_not_told_of_a_new_spec() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let crashed = json!({
        "containerStatuses": [{
            "name": "ostro", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 1, "message": "error: the hub refuses a/b" } },
        }],
    });
    put_pod(&api, "p", crashed);
    await_within(SOON, "the refusal", || told(&api, "Stalled") == "True HFUnauthorized").await;
    put(&api, json!({ "runtime": { "maxSeqs": 8 } }));
    await_within(SOON, "the new spec", || told(&api, "Ready") == "False RollingOut").await;
    assert_eq!(told(&api, "Stalled"), "");
    tokio::time::sleep(SOON).await;
    assert_eq!(told(&api, "Ready"), "False RollingOut");
}

/// As of a node that refuses each of them.
#[tokio::test(start_paused = true)]
async fn of_pods_that_failed_the_last_is_told() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    let now = jiff::Timestamp::now();
    for number in 0..10 {
        let mut metadata = pod_metadata(&api, &format!("p{number}"));
        let age = Duration::from_secs(if number == 4 { 1 } else { 50 + number });
        metadata["creationTimestamp"] = (now - age).to_string().into();
        let status =
            json!({ "phase": "Failed", "reason": "NodeAffinity", "message": format!("not {number}") });
        api.put(
            "",
            "pods",
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status }),
        );
    }
    await_within(SOON, "the failure", || {
        condition(&api, "Ready")
            .is_some_and(|ready| ready["message"].to_string().contains("NodeAffinity: not 4"))
    })
    .await;
    let owner = serde_json::from_value(api.get(GROUP, "inferencedeployments", "m").unwrap()).unwrap();
    assert_eq!(operator.context.children.pods_of(&owner).len(), 1);
}

/// Under the strategy that keeps old pods until the new ones are ready.
#[tokio::test(start_paused = true)]
async fn a_new_pod_that_cannot_start_is_told_beside_an_old_one_that_is_ready() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut deployment = api.get("apps", "deployments", "m").unwrap();
    let generation = deployment["metadata"]["generation"].clone();
    deployment["status"] = json!({
        "replicas": 2, "readyReplicas": 1, "updatedReplicas": 1, "observedGeneration": generation,
    });
    api.put("apps", "deployments", deployment);
    put_pod(&api, "p", creating());
    let uid = api.get("", "pods", "p").unwrap()["metadata"]["uid"].clone();
    put_event(&api, "e", &uid, "FailedMount", (1, "configmap \"none\" not found"));
    let limit = Duration::from_secs(61);
    await_within(limit, "the volume", || told(&api, "Ready") == "False VolumeFailed").await;
}
