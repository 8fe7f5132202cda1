use ostro_crds::InferenceDeploymentSpec;
use serde_json::json;

use super::*;
use crate::inference_deployment::build::{HASH_ANNOTATION, image, startup_time};
use crate::inference_deployment::workload::Workload;

fn template() -> Value {
    json!({
        "metadata": { "labels": { "a": "b" } },
        "spec": {
            "nodeName": "x",
            "containers": [
                { "name": "sidecar", "image": "other" },
                {
                    "name": "ostro", "image": "ostro:1", "args": ["run"],
                    "startupProbe": { "periodSeconds": 5, "failureThreshold": 7 },
                },
            ],
        },
    })
}

fn deployment(replicas: i32, hash: &str) -> DynamicObject {
    let object = json!({
        "metadata": {
            "name": "m", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
            "annotations": { HASH_ANNOTATION: hash },
            "managedFields": [{ "manager": "ostro-operator" }],
            "ownerReferences": [
                {
                    "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "name": "m",
                    "uid": "o", "controller": true,
                },
                { "apiVersion": "v1", "kind": "X", "name": "m", "uid": "x" },
            ],
        },
        "spec": { "replicas": replicas, "template": template() },
        "status": { "readyReplicas": 2, "observedGeneration": 3 },
    });
    serde_json::from_value(object).unwrap()
}

fn wanted(replicas: i32, hash: &str) -> DynamicObject {
    let mut object = deployment(replicas, hash);
    object.data.as_object_mut().unwrap().remove("status");
    object.metadata.generation = None;
    object.metadata.resource_version = None;
    object.metadata.managed_fields = None;
    object
}

fn kept(object: DynamicObject) -> Arc<Kept> {
    let mut cached = Cached::from(object);
    cached.pack(&mut Packer::default());
    cached.kept()
}

fn is_checked(cached: &Kept) -> bool {
    cached.body().checked.is_some()
}

#[test]
fn what_is_as_wanted_stays_so_until_something_else_is_wanted() {
    let cached = kept(deployment(2, "1"));
    let is_as = |replicas, hash| cached.is_as(ChildKind::Deployment, &wanted(replicas, hash));
    assert!(!is_as(3, "2") && !is_as(3, "1") && !is_checked(&cached));
    assert!(is_as(2, "1") && is_checked(&cached) && is_as(2, "1"));
    assert!(!is_as(3, "2"));
    // What a watch shows after somebody's change is looked at anew.
    assert!(!kept(deployment(1, "1")).is_as(ChildKind::Deployment, &wanted(2, "1")));
}

#[test]
fn what_is_only_compared_is_dropped_once_it_is_as_wanted() {
    let cached = kept(deployment(2, "1"));
    let is_as = |replicas, hash| cached.is_as(ChildKind::Service, &wanted(replicas, hash));
    assert!(!is_as(3, "1") && cached.typed::<Value>().is_some());
    assert!(is_as(2, "1") && cached.typed::<Value>().is_none());
    assert!(is_as(2, "1") && !is_as(3, "2"));
}

#[test]
fn what_was_checked_still_tells_all_that_a_status_needs() {
    for kind in ChildKind::WORKLOADS {
        check_read(kind);
    }
}

fn check_read(kind: ChildKind) {
    let cached = kept(deployment(2, "1"));
    let read = || {
        let Workload { metadata, spec, status } = cached.typed().unwrap();
        let image = image(&spec.template).map(str::to_owned);
        (
            (metadata.name, metadata.uid),
            metadata.generation,
            spec.replicas,
            status,
            image,
            startup_time(&spec.template).unwrap().budget_seconds,
        )
    };
    let before = read();
    assert_eq!((before.4.as_deref(), before.5), (Some("ostro:1"), 35));
    assert!(cached.is_as(kind, &wanted(2, "1")));
    assert_eq!(read(), before);
    let owner = |uid: &str| {
        let mut owner = InferenceDeployment::new("m", InferenceDeploymentSpec::default());
        owner.metadata.uid = Some(uid.to_owned());
        owner
    };
    assert!(cached.is_of(&owner("o")) && !cached.is_of(&owner("u")) && !cached.is_of(&owner("")));
}

/// As before its controller has seen it.
#[test]
fn a_workload_without_a_status_can_be_read() {
    let mut object = deployment(2, "1");
    object.data.as_object_mut().unwrap().remove("status");
    let cached = kept(object);
    for _ in 0..2 {
        let workload: Workload = cached.typed().unwrap();
        assert_eq!((workload.spec.replicas, workload.status), (Some(2), None));
        cached.is_as(ChildKind::Deployment, &wanted(2, "1"));
    }
    assert!(is_checked(&cached));
}

#[test]
fn a_checked_deployment_knows_its_template_from_others() {
    let cached = kept(deployment(2, "1"));
    let mut other = template();
    other["spec"]["containers"][1]["image"] = "ostro:2".into();
    for _ in 0..2 {
        assert!(cached.runs(&template()) && !cached.runs(&other));
        cached.is_as(ChildKind::Deployment, &wanted(2, "1"));
    }
    assert!(is_checked(&cached));
}

#[test]
fn a_checked_revision_can_be_read_in_whole() {
    let object = json!({
        "metadata": { "name": "m-1", "namespace": "n", "annotations": { HASH_ANNOTATION: "1" } },
        "revision": 4, "data": { "template": template() },
    });
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let cached = kept(object.clone());
    assert!(cached.is_as(ChildKind::ControllerRevision, &object) && is_checked(&cached));
    let read: DynamicObject = cached.typed().unwrap();
    assert_eq!((read.metadata.name.as_deref(), read.data), (Some("m-1"), object.data.clone()));
}

#[test]
fn what_is_too_large_takes_no_memory() {
    let large = "x".repeat(CHILD_BYTES_MAX);
    let with = |annotation: &str| json!({ "name": "m", "namespace": "n", "uid": "u", "annotations": { "a": annotation } });
    let names = json!({ "metadata": { "name": "m", "namespace": "n", "uid": "u" } });
    let kept =
        |child: Value| serde_json::from_value::<Cached>(child).unwrap().kept().typed::<Value>().unwrap();
    assert_eq!(kept(json!({ "metadata": with(&large), "data": { "a": large } })), names);
    // Less does, where it is nobody's.
    let medium = &large[..OTHERS_BYTES_MAX];
    let mut child = json!({ "metadata": with("b"), "data": { "a": medium } });
    assert_eq!(kept(child.clone()), names);
    child["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "name": "m", "uid": "o",
    }]);
    assert_eq!(kept(child.clone()), child);

    let env = json!([{ "name": "A", "value": large }]);
    let spec = json!({ "models": [{ "modelId": "a/b" }], "replicas": 3, "env": env });
    let cached: CachedObject =
        serde_json::from_value(json!({ "metadata": with(&large), "spec": spec })).unwrap();
    let problem = cached.unreadable.as_ref().unwrap().to_string();
    assert!(problem.contains("spec must have at most 65536 bytes as JSON, and has "), "{problem}");
    let read = cached.object();
    assert_eq!((read.spec.replicas, read.spec.env.len()), (Some(3), 0));
    assert_eq!(read.metadata.annotations.unwrap_or_default().len(), 0);
}

#[test]
fn json_in_private_keys_of_the_parser_is_not_read() {
    let names = json!({ "name": "m", "namespace": "n", "uid": "u" });
    let patch = json!({ "metadata": { "$serde_json::private::RawValue": "[1]" } });
    let child = json!({ "metadata": names, "data": patch }).to_string();
    // The API server sends a ControllerRevision's data as it was written.
    for child in [child.replace('$', "\\u0024"), child] {
        let kept = serde_json::from_str::<Cached>(&child).unwrap().kept().typed::<Value>().unwrap();
        assert_eq!(kept, json!({ "metadata": names }));
    }

    let spec = json!({ "models": [{ "modelId": "a/b" }], "podTemplatePatch": patch });
    let object = json!({ "metadata": names, "spec": spec }).to_string();
    let cached: CachedObject = serde_json::from_str(&object).unwrap();
    let problem = cached.unreadable.as_ref().unwrap().to_string();
    assert!(problem.contains("$serde_json::private::"), "{problem}");
}

#[test]
fn a_child_is_looked_at_for_the_object_in_charge_of_it() {
    let owner = |name: &str, controller: bool| {
        json!({
            "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "name": name, "uid": name,
            "controller": controller,
        })
    };
    let owners = [owner("a", false), owner("b", true), owner("c", false)];
    let child = json!({ "metadata": { "name": "x", "namespace": "n", "ownerReferences": owners } });
    let of = serde_json::from_value::<Cached>(child).unwrap().of();
    assert_eq!(of.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn little_is_kept_of_who_owns_a_child() {
    let owner = |name: String| {
        json!({
            "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "name": name, "uid": name,
        })
    };
    let mut owners: Vec<Value> = (0..1000).map(|number| owner(format!("{number}"))).collect();
    owners.insert(0, owner("x".repeat(1_000_000)));
    let child = json!({ "metadata": { "name": "x", "namespace": "n", "ownerReferences": owners } });
    let cached: Cached = serde_json::from_value(child).unwrap();
    assert_eq!(cached.metadata.owner_references.as_ref().unwrap().len(), OWNERS_MAX);
    assert!(cached.kept().owners.len() < 100);
}
