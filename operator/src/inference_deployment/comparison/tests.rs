use serde_json::json;

use super::*;

#[test]
fn defaults_of_the_server_are_no_difference() {
    let live = json!({ "spec": { "a": 1, "list": [{ "name": "x", "added": true }], "limits": { "cpu": "1" }, "text": "1" } });
    let same = json!({ "spec": { "list": [{ "name": "x" }], "limits": { "cpu": "1000m" }, "empty": {} } });
    assert!(contains(&live, &same));
    for other in [
        json!({ "spec": { "a": 2 } }),
        json!({ "spec": { "b": 1 } }),
        json!({ "spec": { "list": [] } }),
        json!({ "spec": { "list": [{ "name": "y" }] } }),
        json!({ "spec": { "limits": { "cpu": "2" } } }),
        // As of a variable.
        json!({ "spec": { "text": "1000m" } }),
    ] {
        assert!(!contains(&live, &other), "{other}");
    }
}

#[test]
fn a_difference_is_told_by_its_path() {
    let object = |spec: Value, hash: &str| -> DynamicObject {
        let metadata =
            json!({ "name": "a", "annotations": { HASH_ANNOTATION: hash }, "labels": { "own": "1" } });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    };
    let item = |name: &str| json!({ "name": name, "value": "1" });
    let named = json!({ "env": [item("a"), item("b")], "args": ["x"], "hostNetwork": false, "text": "", "dnsPolicy": "", "sources": [], "selector": { "a": "b" }, "podSelector": { "matchLabels": { "a": "b" } }, "labels": { "a": "b" }, "probe": { "periodSeconds": 0, "port": 0 } });
    let with = |path: &str, value: Value| {
        let mut spec = named.clone();
        spec[path] = value;
        spec
    };
    for (live, expected) in [
        (with("env", json!([item("injected"), item("a"), item("b")])), None),
        (with("args", json!(["x", "y"])), Some("spec.args")),
        (with("args", json!(["y"])), Some("spec.args[0]")),
        (with("env", json!([item("a")])), Some("spec.env[b]")),
        (with("env", json!([{ "name": "b", "value": "2" }, item("a"), item("c")])), Some("spec.env[b]")),
        (with("args", json!(null)), Some("spec.args")),
        (with("hostNetwork", json!(true)), Some("spec.hostNetwork")),
        (with("dnsPolicy", json!("ClusterFirst")), None),
        (with("sources", json!(null)), None),
        (with("selector", json!({ "a": "b", "extra": "x" })), Some("spec.selector.extra")),
        (
            with("podSelector", json!({ "matchLabels": { "a": "b" }, "matchExpressions": [{ "key": "x" }] })),
            Some("spec.podSelector.matchExpressions"),
        ),
        (with("labels", json!({ "a": "b", "extra": "x" })), None),
        (with("probe", json!({ "periodSeconds": 10 })), None),
        (with("probe", json!({ "periodSeconds": 10, "port": 80 })), Some("spec.probe.port")),
    ] {
        let found = first_difference(&object(named.clone(), "1"), &object(live, "1"));
        assert_eq!(found.as_deref(), expected);
    }
    let mut live = object(named.clone(), "1");
    live.metadata.labels = None;
    assert_eq!(first_difference(&object(named.clone(), "1"), &live).unwrap(), "metadata.labels");
    // What is wanted no more.
    let found = first_difference(&object(json!({ "args": ["x"] }), "2"), &object(named, "1"));
    assert_eq!(found.unwrap(), format!("metadata.annotations.{HASH_ANNOTATION}"));
}

#[test]
fn an_overlay_keeps_what_was_not_asked_for() {
    let live =
        json!({ "a": { "b": 1, "server": 2 }, "list": [{ "name": "x", "added": true }], "storage": "1" });
    let wanted = json!({ "a": { "b": 3 }, "list": [{ "name": "y" }], "storage": "1000m", "new": {} });
    let after = overlay(&live, &wanted);
    assert_eq!(
        after,
        json!({ "a": { "b": 3, "server": 2 }, "list": [{ "name": "y", "added": true }], "storage": "1", "new": {} })
    );
    assert!(contains(&after, &wanted));
    assert_eq!(overlay(&json!([1, 2]), &json!([1])), json!([1]));
    // No amount, though it looks like one.
    assert_eq!(overlay(&json!({ "value": "1.10" }), &json!({ "value": "1.1" }))["value"], "1.1");
}
