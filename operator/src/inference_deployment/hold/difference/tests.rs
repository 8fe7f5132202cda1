use serde_json::json;

use super::*;

#[test]
fn differences_have_paths_that_can_be_found() {
    let base = json!({
        "metadata": { "annotations": { "a.b/c": "1" }, "labels": { "storage": "1" } },
        "spec": {
            "containers": [{ "name": "ostro", "env": [{ "name": "A", "value": "1" }, { "name": "B" }], "args": ["x"] }],
            "overhead": { "cpu": "1000m" },
        },
    });
    let with = |pointer: &str, value: Value| {
        let mut other = base.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        other
    };
    let env = "/spec/containers/0/env";
    let cases = [
        (base.clone(), vec![]),
        // The API server writes amounts its own way.
        (with("/spec/overhead", json!({ "cpu": "1" })), vec![]),
        (with("/spec/overhead", json!({ "cpu": "2" })), vec!["spec.overhead.cpu"]),
        (with("/spec/overhead", json!({})), vec!["spec.overhead.cpu"]),
        (with("/metadata/annotations/a.b~1c", json!("2")), vec!["metadata.annotations[a.b/c]"]),
        // The key of a label is anybody's.
        (with("/metadata/labels/storage", json!("1000m")), vec!["metadata.labels.storage"]),
        (with("/spec/containers/0/args", json!(["y"])), vec!["spec.containers[ostro].args"]),
        (with("/spec/containers/0/args", json!(["x", "y"])), vec!["spec.containers[ostro].args"]),
        (
            with(env, json!([{ "name": "A", "value": "2" }, { "name": "B" }])),
            vec!["spec.containers[ostro].env[A].value"],
        ),
        // No amount, though it looks like one.
        (
            with(env, json!([{ "name": "A", "value": "1000m" }, { "name": "B" }])),
            vec!["spec.containers[ostro].env[A].value"],
        ),
        (
            with(env, json!([{ "name": "B" }, { "name": "A", "value": "1" }])),
            vec!["spec.containers[ostro].env (order)"],
        ),
        (
            with(env, json!([{ "name": "A", "value": "1" }, { "name": "C" }])),
            vec!["spec.containers[ostro].env[B]", "spec.containers[ostro].env[C]"],
        ),
        (with(env, json!([{ "name": "A" }, { "name": "A" }])), vec!["spec.containers[ostro].env"]),
    ];
    let of = |template: &Value| Rendering {
        renderer: None,
        template: template.clone(),
        config: String::new(),
        cache_claim: None,
    };
    for (other, expected) in cases {
        assert_eq!(differences(&of(&base), &of(&other)), expected, "{other}");
    }
}
