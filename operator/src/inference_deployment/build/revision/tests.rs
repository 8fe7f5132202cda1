use super::*;
use crate::inference_deployment::build::dynamic;

fn names() -> Names {
    Names { name: "m".to_owned(), namespace: "n".to_owned() }
}

fn kept(image: &str, number: i64) -> Kept {
    let template = json!({
        "metadata": { "labels": { "app.kubernetes.io/name": "ostro", "app.kubernetes.io/instance": "m" } },
        "spec": { "containers": [{ "name": "ostro", "image": image }], "fieldOfALaterVersion": 1 },
    });
    let rendering =
        Rendering { renderer: Some("1".to_owned()), template, config: "c".to_owned(), cache_claim: None };
    Kept { rendering, spec_hash: "s".to_owned(), number }
}

fn object(kept: &Kept) -> DynamicObject {
    let mut object = dynamic(build(&names(), kept));
    // The API server keeps fields in its own order.
    object.data.sort_all_objects();
    object
}

#[test]
fn the_newest_is_read_as_it_was_written() {
    let (first, second) = (kept("a", 9), kept("b", 10));
    let history = History::read(&names(), &[object(&second), object(&first)]);
    assert_eq!(history, History { last_number: 10, newest: Some(Ok(second)) });
    assert_eq!(History::read(&names(), []), History { last_number: 0, newest: None });
}

/// Those of before are read as they were, and name the same renderings.
#[test]
fn the_claim_of_replicas_is_kept() {
    let mut own = kept("a", 1);
    let shared = own.rendering.clone();
    own.rendering.cache_claim = Some(json!({ "metadata": { "name": "cache" } }));
    let history = History::read(&names(), &[object(&own)]);
    assert_eq!(history.newest, Some(Ok(own.clone())));
    assert_eq!(own.rendering.workload(), ChildKind::StatefulSet);
    assert_eq!(shared.workload(), ChildKind::Deployment);
    assert_ne!(own.rendering.id(), shared.id());
    assert_eq!(shared.id(), format!("1-{}", content_hash(&json!([shared.template, "c"]))));
    assert_eq!(object(&kept("a", 1)).data["data"].get("cacheClaim"), None);
}

#[test]
fn the_name_is_of_the_content_alone() {
    let name = |kept: &Kept| object(kept).name_any();
    assert_eq!(name(&kept("a", 1)), name(&kept("a", 2)));
    assert_ne!(name(&kept("a", 1)), name(&kept("b", 1)));
}

#[test]
fn what_is_not_the_operators_is_not_read() {
    type Change = fn(&mut DynamicObject);
    let cases: [(Change, &str); 5] = [
        (
            |object| object.data["data"]["template"]["spec"]["containers"][0]["image"] = "x".into(),
            "its data is not what its name says",
        ),
        (|object| object.data["data"]["specHash"] = "x".into(), "its data is not what its name says"),
        (
            |object| drop(object.data["data"].as_object_mut().unwrap().remove("config")),
            "missing field `config`",
        ),
        (|object| object.data["data"] = Value::Null, "is not the operator's"),
        (|object| drop(object.data.as_object_mut().unwrap().remove("data")), "is not the operator's"),
    ];
    for (change, expected) in cases {
        // A readable one of before does not count.
        let mut newest = object(&kept("b", 2));
        change(&mut newest);
        let history = History::read(&names(), &[object(&kept("a", 1)), newest]);
        let reason = history.newest.unwrap().unwrap_err();
        assert!(reason.starts_with("ControllerRevision m-") && reason.contains(expected), "{reason}");
        assert_eq!(history.last_number, 2);
    }
    let mut other = kept("a", 1);
    other.rendering.template["metadata"]["labels"]["app.kubernetes.io/instance"] = "x".into();
    let reason = History::read(&names(), &[object(&other)]).newest.unwrap().unwrap_err();
    assert!(reason.contains("is of other pods"), "{reason}");
    let mut other = kept("a", 1);
    other.rendering.template["spec"]["containers"] = 1.into();
    let reason = History::read(&names(), &[object(&other)]).newest.unwrap().unwrap_err();
    assert!(reason.contains("data.template.spec.containers"), "{reason}");
}
