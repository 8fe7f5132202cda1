//! What nobody owns any more: taken back by an object that is there, with its pods as they are.

use kube::api::{Api, WatchEvent, WatchParams};
use ostro_crds::InferenceDeployment;

use super::revisions::uid;
use super::*;
use crate::inference_deployment::build::ChildKind;

const SOON: Duration = Duration::from_secs(20);
const CACHE: &str = "m-cache";

pub(super) fn spec() -> Value {
    json!({ "cache": { "volume": { "size": "1Gi" } } })
}

/// Of one object, all that there is.
pub(super) fn children(api: &FakeApi) -> Vec<(ChildKind, Value)> {
    let of_kind = |kind: ChildKind| {
        let (group, plural) = kind.group_and_plural();
        api.all(group, plural).into_iter().map(move |object| (kind, object))
    };
    ChildKind::ALL.into_iter().flat_map(of_kind).collect()
}

pub(super) fn disown(api: &FakeApi, (kind, mut child): (ChildKind, Value)) {
    child["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let (group, plural) = kind.group_and_plural();
    api.put(group, plural, child);
}

/// `kubectl delete --cascade=orphan` while no operator runs.
pub(super) fn orphan(api: &FakeApi, operator: Operator) {
    drop(operator);
    api.remove(GROUP, "inferencedeployments", "m");
    for child in children(api) {
        disown(api, child);
    }
}

/// Each has exactly this owner.
pub(super) fn are_of(api: &FakeApi, uid: &str) -> bool {
    children(api).iter().all(|(_, child)| {
        let owners = child["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.len() == 1 && owners[0]["uid"] == uid)
    })
}

fn template(api: &FakeApi) -> Value {
    api.get("apps", "deployments", "m").unwrap()["spec"]["template"].clone()
}

/// All is made, and nothing more is written.
pub(super) async fn start(api: &FakeApi) -> Operator {
    let operator = Operator::start(api, Scope::Cluster);
    put(api, spec());
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    tokio::time::sleep(SOON).await;
    assert!(are_of(api, &uid(api)) && children(api).len() > 5);
    operator
}

#[tokio::test(start_paused = true)]
async fn a_reference_that_is_taken_out_comes_back() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    for child in children(&api) {
        let what = format!("{:?}", child.0);
        disown(&api, child);
        assert!(!are_of(&api, &uid(&api)));
        await_within(SOON, &what, || are_of(&api, &uid(&api))).await;
    }
    tokio::time::sleep(SOON).await;
    let writes = api.writes();
    tokio::time::sleep(SOON).await;
    assert_eq!(api.writes(), writes);
}

/// As after `kubectl delete --cascade=orphan`, and an upgrade of what an object's pods are made of.
#[tokio::test(start_paused = true)]
async fn who_comes_again_finds_its_children_and_its_pods() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    let before = (uid(&api), template(&api));
    orphan(&api, operator);
    let _operator = Operator::start_of(&api, Scope::Cluster, (no_daemon(), "ostro:2"));
    tokio::time::sleep(SOON).await;
    assert!(api.get("apps", "deployments", "m").is_some());
    put(&api, spec());
    assert_ne!(uid(&api), before.0);
    await_within(SOON, "all of it", || are_of(&api, &uid(&api))).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(template(&api), before.1);
    assert_eq!(api.all("apps", "controllerrevisions").len(), 1);
    make_ready(&api);
    await_within(SOON, "ready", || told(&api, "Ready") == "True AllReady").await;
    assert_eq!(told(&api, "TemplateUpdatePending"), "True OperatorUpgraded");
}

/// Though pods of before are, of which nobody knows yet whether they are of its spec.
#[tokio::test(start_paused = true)]
async fn who_comes_again_is_not_ready_at_first() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    make_ready(&api);
    await_within(SOON, "ready", || told(&api, "Ready") == "True AllReady").await;
    orphan(&api, operator);
    let operator = Operator::start(&api, Scope::Cluster);
    let objects = Api::<InferenceDeployment>::all(api.client(&operator.metrics));
    let changes = objects.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    put(&api, spec());
    let conditions = changes.filter_map(async |change| match change.unwrap() {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            object.status?.conditions.into_iter().find(|condition| condition.type_ == "Ready")
        }
        other => panic!("{other:?}"),
    });
    let first = conditions.boxed().next().await.unwrap();
    assert_eq!(first.status, "False", "{first:?}");
    await_within(SOON, "ready again", || told(&api, "Ready") == "True AllReady").await;
}

/// Kubernetes takes the references away before the object is gone, which a cache need not know.
#[tokio::test(start_paused = true)]
async fn an_object_that_goes_takes_nothing_back() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut object = api.get(GROUP, "inferencedeployments", "m").unwrap();
    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    api.put_unseen(GROUP, "inferencedeployments", object);
    for child in children(&api) {
        disown(&api, child);
    }
    tokio::time::sleep(SOON).await;
    assert!(children(&api).iter().all(|(_, child)| child["metadata"].get("ownerReferences").is_none()));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_controls_is_left_to_them() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut claim = api.get("", "persistentvolumeclaims", CACHE).unwrap();
    let other =
        json!([{ "apiVersion": "v1", "kind": "Backup", "name": "b", "uid": "b", "controller": true }]);
    claim["metadata"]["ownerReferences"] = other.clone();
    api.put("", "persistentvolumeclaims", claim);
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    let claim = api.get("", "persistentvolumeclaims", CACHE).unwrap();
    assert_eq!(claim["metadata"]["ownerReferences"], other);
}

/// A copy, or what an object of that name has made before.
#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_is_left_as_it_is() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    for (kind, mut child) in children(&api) {
        child["metadata"]["name"] = "m-copy".into();
        disown(&api, (kind, child));
    }
    let copies = |api: &FakeApi| {
        let all = children(api).into_iter().map(|(_, child)| child["metadata"].clone());
        all.filter(|metadata| metadata["name"] == "m-copy").collect::<Vec<_>>()
    };
    let before = copies(&api);
    tokio::time::sleep(SOON).await;
    assert!(before.len() > 5 && copies(&api) == before);
    assert_ne!(told(&api, "Ready"), "False ApplyFailed");
}

/// Which a policy of admission does: that is told, and tried no more.
#[tokio::test(start_paused = true)]
async fn a_reference_that_somebody_keeps_out_is_contested() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    api.mutate(Some(("services", "/metadata/ownerReferences", json!([]))));
    disown(&api, (ChildKind::Service, api.get("", "services", "m").unwrap()));
    tokio::time::sleep(SOON).await;
    let writes = api.writes();
    assert_eq!(told(&api, "Ready"), "False ApplyFailed");
    tokio::time::sleep(SOON).await;
    assert!(api.writes() <= writes + 1, "{} after {writes}", api.writes());
}

/// As the garbage collector does, once whose it was made is gone.
#[tokio::test(start_paused = true)]
async fn what_somebody_else_took_is_made_anew_when_it_is_gone() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut service = api.get("", "services", "m").unwrap();
    service["metadata"]["ownerReferences"][0]["uid"] = "thief".into();
    service["metadata"]["ownerReferences"][0]["kind"] = "ConfigMap".into();
    api.put("", "services", service);
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    api.remove("", "services", "m");
    await_within(SOON, "the Service", || api.get("", "services", "m").is_some()).await;
    await_within(SOON, "no reason", || told(&api, "Ready") != "False ApplyFailed").await;
}

/// The controller of StatefulSets does so, with those that its selector finds.
#[tokio::test(start_paused = true)]
async fn revisions_that_the_stateful_set_adopted_are_taken_back() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({ "cache": { "volume": { "size": "1Gi", "perReplica": true } } }));
    await_within(SOON, "the StatefulSet", || api.get("apps", "statefulsets", "m").is_some()).await;
    let set = api.get("apps", "statefulsets", "m").unwrap();
    let selector = set["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let [mut revision] = api.all("apps", "controllerrevisions").try_into().unwrap();
    let labels = revision["metadata"]["labels"].as_object().unwrap();
    assert!(
        selector.iter().any(|(key, value)| labels.get(key) != Some(value)),
        "{selector:?} finds {labels:?}"
    );
    let set_uid = &set["metadata"]["uid"];
    revision["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "m", "uid": set_uid, "controller": true }]);
    api.put("apps", "controllerrevisions", revision);
    await_within(SOON, "the revision", || are_of(&api, &uid(&api))).await;
}

/// Its pods would be in the Service of the next object.
#[tokio::test(start_paused = true)]
async fn a_workload_of_the_other_form_goes_though_nobody_owns_it() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    orphan(&api, operator);
    let mut copy = api.get("apps", "deployments", "m").unwrap();
    copy["metadata"]["name"] = "m-copy".into();
    api.put("apps", "deployments", copy);
    put(&api, json!({ "cache": { "volume": { "size": "1Gi", "perReplica": true } } }));
    let _operator = Operator::start(&api, Scope::Cluster);
    await_within(SOON, "the StatefulSet", || api.get("apps", "statefulsets", "m").is_some()).await;
    await_within(SOON, "no Deployment", || api.get("apps", "deployments", "m").is_none()).await;
    tokio::time::sleep(SOON).await;
    assert!(api.get("apps", "deployments", "m-copy").is_some());
    assert!(api.get("", "persistentvolumeclaims", CACHE).is_some());
}

/// With the labels of the object's own.
#[tokio::test(start_paused = true)]
async fn pods_of_a_stranger_are_not_counted() {
    let api = FakeApi::default();
    let labels =
        json!({ "app.kubernetes.io/managed-by": "ostro-operator", "app.kubernetes.io/instance": "m" });
    api.put(
        "apps",
        "deployments",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "m", "namespace": "n", "labels": labels, "generation": 1 },
            "spec": { "replicas": 1, "template": {} },
            "status": { "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "observedGeneration": 1 },
        }),
    );
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    assert!(told(&api, "Available").starts_with("False"), "{}", told(&api, "Available"));
    let object = api.get(GROUP, "inferencedeployments", "m").unwrap();
    assert_eq!(object["status"]["replicasReady"], "0/1");
}

/// As one with a finalizer is until that is done.
#[tokio::test(start_paused = true)]
async fn a_child_that_goes_is_told_and_made_anew() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut deployment = api.get("apps", "deployments", "m").unwrap();
    deployment["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    api.put("apps", "deployments", deployment);
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("Deployment m is being deleted"), "{message}");
    api.remove("apps", "deployments", "m");
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
}

/// More than is kept of what nobody owns.
#[tokio::test(start_paused = true)]
async fn a_large_revision_that_was_left_is_read_and_the_change_is_rolled_out() {
    let env = json!([{ "name": "A", "value": "x".repeat(9000) }]);
    let patch = json!({ "spec": { "containers": [{ "name": "ostro", "env": env }] } });
    let api = FakeApi::default();
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({ "podTemplatePatch": patch }));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    let before = template(&api);
    orphan(&api, operator);
    put(&api, json!({ "podTemplatePatch": patch, "runtime": { "maxSeqs": 4 } }));
    let _operator = Operator::start(&api, Scope::Cluster);
    await_within(SOON, "the change", || template(&api) != before).await;
    assert_eq!(told(&api, "TemplateUpdatePending"), "");
}
