//! An object that is deleted and made again at once, as by `kubectl replace --force`.

use super::ownership::{are_of, children, spec, start};
use super::revisions::uid;
use super::*;
use crate::inference_deployment::build::ChildKind;

const SOON: Duration = Duration::from_secs(20);

/// Its children are there until the garbage collector takes them; the claim is held by pods that end.
async fn replace(api: &FakeApi, created: Value) -> Vec<(ChildKind, Value)> {
    api.remove(GROUP, "inferencedeployments", "m");
    let (_, mut claim) =
        children(api).into_iter().find(|(kind, _)| *kind == ChildKind::PersistentVolumeClaim).unwrap();
    claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
    api.put("", "persistentvolumeclaims", claim);
    let left = children(api);
    let mut object = object(spec());
    object["metadata"]["creationTimestamp"] = created;
    api.put(GROUP, "inferencedeployments", object);
    left
}

fn message(api: &FakeApi) -> String {
    condition(api, "Ready").unwrap()["message"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_what_its_predecessor_left() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let left = replace(&api, json!(null)).await;
    let is_waiting =
        || told(&api, "Ready") == "False RollingOut" && message(&api).contains("of a deleted object");
    await_within(SOON, "the reason", is_waiting).await;
    let (held, free): (Vec<_>, Vec<_>) =
        left.iter().partition(|(kind, _)| *kind == ChildKind::PersistentVolumeClaim);
    let remove = |(kind, child): &(ChildKind, Value)| {
        let (group, plural) = kind.group_and_plural();
        api.remove(group, plural, child["metadata"]["name"].as_str().unwrap());
    };
    free.into_iter().for_each(remove);
    tokio::time::sleep(SOON).await;
    assert!(is_waiting() && message(&api).contains("PersistentVolumeClaim m-cache"), "{}", message(&api));
    assert_eq!(condition(&api, "Degraded").unwrap()["status"], "False");
    held.into_iter().for_each(remove);
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    assert!(are_of(&api, &uid(&api)));
}

#[tokio::test(start_paused = true)]
async fn what_a_predecessor_left_and_nobody_takes_is_told() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    replace(&api, json!("2020-01-01T00:00:00Z")).await;
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    assert!(message(&api).contains("of a deleted object of this name"), "{}", message(&api));
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_not_told_of_by_the_status_of_its_predecessor() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut successor = api.get(GROUP, "inferencedeployments", "m").unwrap();
    successor.as_object_mut().unwrap().remove("status");
    successor["metadata"]["uid"] = "successor".into();
    successor["metadata"]["resourceVersion"] = "successor".into();
    api.put_unseen(GROUP, "inferencedeployments", successor.clone());
    // The operator has something to say of the one that it knows.
    let mut deployment = api.get("apps", "deployments", "m").unwrap();
    deployment["status"] = json!({ "replicas": 7 });
    let writes = api.writes();
    api.put("apps", "deployments", deployment);
    await_within(SOON, "a write", || api.writes() > writes).await;
    assert_eq!(api.get(GROUP, "inferencedeployments", "m").unwrap(), successor);
}
