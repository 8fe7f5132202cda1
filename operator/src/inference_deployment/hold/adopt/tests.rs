use serde_json::json;

use super::*;

/// As an API server has it: what the operator applied, its own defaults, and what `kubectl rollout restart` wrote.
fn live(manager: &str) -> DynamicObject {
    let fields = json!({ "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:metadata": { "f:annotations": { "f:hash": {} }, "f:labels": { "f:app": {} } },
            "f:spec": {
                "f:containers": { "k:{\"name\":\"ostro\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:ports": { "k:{\"containerPort\":1234,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {}, "f:name": {} } },
                    "f:resources": { "f:limits": { "f:cpu": {} } },
                } },
                "f:volumes": { "k:{\"name\":\"tmp\"}": { ".": {}, "f:name": {}, "f:emptyDir": {} } },
            },
        },
    } });
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "m", "managedFields": [
            { "manager": "kubectl", "operation": "Apply", "fieldsV1": { "f:spec": {} } },
            { "manager": manager, "operation": "Update", "subresource": "status", "fieldsV1": {} },
            { "manager": manager, "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields },
        ] },
        "spec": { "replicas": 2, "template": {
            "metadata": { "annotations": { "hash": "h", "kubectl.kubernetes.io/restartedAt": "t" }, "labels": { "app": "a" } },
            "spec": {
                "dnsPolicy": "ClusterFirst",
                "containers": [
                    { "name": "injected", "image": "i" },
                    {
                        "name": "ostro", "image": "ostro:1", "args": ["x", "y"], "imagePullPolicy": "IfNotPresent",
                        "ports": [{ "containerPort": 1234, "protocol": "TCP", "name": "http" }],
                        "resources": { "limits": { "cpu": "1" } },
                    },
                ],
                "volumes": [{ "name": "tmp", "emptyDir": {} }],
            },
        } },
    });
    serde_json::from_value(object).unwrap()
}

fn rendered(image: &str) -> Rendering {
    let template = json!({
        "metadata": { "annotations": { "hash": "h" }, "labels": { "app": "a" } },
        "spec": {
            "containers": [{
                "name": "ostro", "image": image, "args": ["x", "y"],
                "ports": [{ "containerPort": 1234, "protocol": "TCP", "name": "http" }],
                "resources": { "limits": { "cpu": "1000m" } },
            }],
            "volumes": [{ "name": "tmp", "emptyDir": {} }],
        },
    });
    Rendering { renderer: Some("2".to_owned()), template, config: "c".to_owned(), cache_claim: None }
}

/// Without the container that somebody else put in.
fn alone(manager: &str) -> DynamicObject {
    let mut live = live(manager);
    live.data["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().remove(0);
    live
}

#[test]
fn a_deployment_that_would_be_applied_again_is_kept_as_rendered() {
    let rendered = rendered("ostro:1");
    assert_eq!(adopt(&alone(MANAGER), Some("c"), &rendered), rendered);
}

#[test]
fn what_the_operator_applied_is_kept_without_what_others_added() {
    let kept = adopt(&live(MANAGER), Some("old"), &rendered("ostro:2"));
    let expected = json!({
        "metadata": { "annotations": { "hash": "h" }, "labels": { "app": "a" } },
        "spec": {
            "containers": [{
                "name": "ostro", "image": "ostro:1", "args": ["x", "y"],
                "ports": [{ "containerPort": 1234, "name": "http" }], "resources": { "limits": { "cpu": "1" } },
            }],
            "volumes": [{ "name": "tmp", "emptyDir": {} }],
        },
    });
    assert_eq!(
        kept,
        Rendering { renderer: None, template: expected, config: "old".to_owned(), cache_claim: None }
    );
}

#[test]
fn any_difference_keeps_what_runs() {
    let mut less = rendered("ostro:1");
    less.template["spec"].as_object_mut().unwrap().remove("volumes");
    let mut more = rendered("ostro:1");
    more.template["spec"]["hostNetwork"] = true.into();
    for (config, rendered) in [("c", &less), ("c", &more), ("d", &rendered("ostro:1"))] {
        let kept = adopt(&alone(MANAGER), Some(config), rendered);
        assert_eq!((kept.renderer.as_deref(), kept.config.as_str()), (None, config));
        assert_eq!(kept.template["spec"]["containers"][0]["image"], "ostro:1");
        assert_eq!(kept.template["spec"]["volumes"], json!([{ "name": "tmp", "emptyDir": {} }]));
        assert_eq!(kept.template["spec"].get("hostNetwork"), None);
    }
}

#[test]
fn a_deployment_that_was_not_applied_is_kept_whole() {
    let live = live("somebody");
    let kept = adopt(&live, None, &rendered("ostro:1"));
    assert_eq!((kept.renderer, &kept.template), (None, &live.data["spec"]["template"]));
}

#[test]
fn a_deployment_whose_fields_somebody_took_over_is_kept_whole() {
    for taken in ["/f:metadata/f:labels", "/f:spec/f:containers/k:{\"name\":\"ostro\"}/f:image"] {
        let mut live = alone(MANAGER);
        let entry = live.metadata.managed_fields.as_mut().unwrap().last_mut().unwrap();
        let fields = &mut entry.fields_v1.as_mut().unwrap().0["f:spec"]["f:template"];
        let (parent, name) = taken.rsplit_once('/').unwrap();
        assert!(fields.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).is_some());
        let kept = adopt(&live, Some("c"), &rendered("ostro:2"));
        assert_eq!(kept.template, live.data["spec"]["template"], "{taken}");
    }
}

#[test]
fn the_claims_of_a_stateful_set_stay() {
    let claim = |size: &str| json!({ "metadata": { "name": "cache" }, "spec": { "resources": { "requests": { "storage": size } } } });
    let mut live = alone(MANAGER);
    live.data["spec"]["volumeClaimTemplates"] = json!([claim("1Gi")]);
    live.data["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = "Filesystem".into();
    let found = live.data["spec"]["volumeClaimTemplates"][0].clone();
    let same = Rendering { cache_claim: Some(claim("1Gi")), ..rendered("ostro:1") };
    assert_eq!(adopt(&live, Some("c"), &same), same);
    for rendered in [Rendering { cache_claim: Some(claim("2Gi")), ..same.clone() }, rendered("ostro:1")] {
        let kept = adopt(&live, Some("c"), &rendered);
        assert_eq!((kept.renderer, kept.cache_claim.as_ref()), (None, Some(&found)));
    }
    assert_eq!(adopt(&alone(MANAGER), Some("c"), &same).cache_claim, None);
}

#[test]
fn values_that_fields_are_named_by_are_read_with_care() {
    let is_read = |name: &str| is_item(&json!([1]), name);
    assert!(is_read("v:[1]"));
    assert!(!is_read(r#"v:{"$serde_json::private::RawValue":"[1]"}"#));
    assert!(!is_read(r#"v:{"\u0024serde_json::private::RawValue":"[1]"}"#));
}
