use kube::ResourceExt;
use serde_json::json;

use super::*;

#[test]
fn an_object_is_read_as_it_was() {
    let condition = json!({
        "type": "TemplateUpdatePending", "status": "True", "reason": "SpecHeld", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment",
        "metadata": {
            "name": "m", "namespace": "n", "uid": "u", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "annotations": { "inference.ostro.dev/release-template": "latest" },
        },
        "spec": {
            "models": [{ "modelId": "a/b", "other": 1.5 }], "monitoring": { "kind": "PodMonitor" },
            "resources": { "limits": { "memory": "1Gi" } },
        },
        "status": { "observedGeneration": 1, "conditions": [condition], "modelsReady": "0/1" },
    });
    let mut shown = object.clone();
    shown["metadata"]["managedFields"] = json!([{ "manager": "kubectl" }]);
    shown["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}".into();
    shown["metadata"]["labels"] = json!({ "a": "b" });
    let others = json!({
        "type": "Scanned", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    shown["status"]["conditions"].as_array_mut().unwrap().push(others);
    let cached: CachedObject = serde_json::from_value(shown).unwrap();
    let expected: InferenceDeployment = serde_json::from_value(object).unwrap();
    let read = cached.object();
    assert_eq!(
        (&read.metadata, &read.spec, &read.status),
        (&expected.metadata, &expected.spec, &expected.status)
    );
    assert_eq!((cached.monitor, cached.pending), (Some(ChildKind::PodMonitor), Some(Reason::SpecHeld)));
}

#[test]
fn an_object_is_behind_until_its_latest_spec_was_seen() {
    let of = |seen: Value, deleted: Value| {
        let metadata =
            json!({ "name": "m", "namespace": "n", "generation": 3, "deletionTimestamp": deleted });
        let object = json!({
            "metadata": metadata, "spec": { "models": [] },
            "status": { "observedGeneration": seen, "conditions": [] },
        });
        serde_json::from_value::<CachedObject>(object).unwrap().is_behind
    };
    let none = || Value::Null;
    assert_eq!([of(none(), none()), of(json!(2), none()), of(json!(3), none())], [true, true, false]);
    // It will not be seen any more.
    assert!(!of(json!(2), json!("2026-01-01T00:00:00Z")));
}

/// JSON is read down to 127 levels, and the spec is kept inside of the object.
#[test]
fn what_is_read_of_an_object_is_read_again() {
    let mut unreadable = Vec::new();
    for depth in 110..135 {
        let patch = (0..depth).fold(json!({}), |inner, _| json!({ "a": inner }));
        let spec = json!({ "models": [{ "modelId": "a/b" }], "replicas": 3, "podTemplatePatch": patch });
        let annotations = json!({ RELEASE_ANNOTATION: "é".repeat(1000) });
        let metadata = json!({ "name": "m", "namespace": "n", "uid": "u", "annotations": annotations });
        let object = json!({ "metadata": metadata, "spec": spec }).to_string();
        let cached: CachedObject = serde_json::from_str(&object).unwrap();
        assert_eq!(cached.object().spec.replicas, Some(3));
        assert_eq!(cached.object().annotations()[RELEASE_ANNOTATION], "é".repeat(256));
        assert_eq!(cached.kept_uid(), "u");
        unreadable.push(cached.unreadable.is_some());
    }
    assert!(unreadable.is_sorted() && !unreadable[0] && unreadable[24], "{unreadable:?}");
}
