use ostro_crds::InferenceDeploymentSpec;
use serde_json::{Value, json};

use super::*;
use crate::inference_deployment::build::{Defaults, pod};

fn merged(base: Value, patch: &Value) -> Result<Value, String> {
    merge::merge(base, patch.as_object().unwrap())
        .map_err(|Fault { path, message }| format!("{path} {message}"))
}

#[test]
fn a_patch_that_would_take_long_is_refused() {
    let patch = |items: usize| {
        let env: Vec<Value> = (0..items).map(|item| json!({ "name": format!("A{item:05}") })).collect();
        json!({ "spec": { "containers": [{ "name": "ostro", "env": env }] } })
    };
    assert_eq!(check_size(patch(1500).as_object().unwrap()), Ok(()));
    let Fault { path, message } = check_size(patch(2000).as_object().unwrap()).unwrap_err();
    assert!(path.is_empty() && message.starts_with("must have at most 32768 bytes as JSON"), "{message}");
    assert!(merged(json!({}), &patch(256)).is_ok());
    let fault = merged(json!({}), &patch(257)).unwrap_err();
    assert_eq!(fault, "spec.containers[0].env must have at most 256 items, and has 257");
}

#[test]
fn patches_merge_as_kubernetes_merges_them() {
    let two = json!({ "env": [{ "name": "a", "value": "1" }, { "name": "b", "value": "2" }] });
    let ports = json!({ "ports": [{ "containerPort": 1, "name": "x" }] });
    let arguments = json!({ "args": ["a", "b"], "tolerations": [{ "key": "a" }] });
    let object = json!({ "x": { "a": 1, "b": { "c": 2, "d": 3 } }, "y": 1 });
    let cases = [
        // Objects merge, null deletes, and order is kept.
        (
            &object,
            json!({ "x": { "b": { "c": 5 } } }),
            json!({ "x": { "a": 1, "b": { "c": 5, "d": 3 } }, "y": 1 }),
        ),
        (&object, json!({ "x": { "b": null, "z": null } }), json!({ "x": { "a": 1 }, "y": 1 })),
        (&object, json!({ "x": { "$patch": "replace", "z": 1 } }), json!({ "x": { "z": 1 }, "y": 1 })),
        (&object, json!({ "x": { "$patch": "delete" } }), json!({ "y": 1 })),
        (
            &object,
            json!({ "x": { "$patch": "merge", "a": 2 }, "y": null }),
            json!({ "x": { "a": 2, "b": { "c": 2, "d": 3 } } }),
        ),
        (
            &object,
            json!({ "$patch": "replace", "new": { "a": null, "b": [{ "c": null }] } }),
            json!({ "new": { "b": [{}] } }),
        ),
        (&object, json!({ "y": { "a": 1 } }), json!({ "x": object["x"], "y": { "a": 1 } })),
        // Lists with a key merge by it; new items come last.
        (
            &two,
            json!({ "env": [{ "name": "c" }, { "name": "a", "value": "9" }] }),
            json!({ "env": [{ "name": "a", "value": "9" }, { "name": "b", "value": "2" }, { "name": "c" }] }),
        ),
        (
            &two,
            json!({ "env": [{ "name": "a", "value": null, "valueFrom": {} }] }),
            json!({ "env": [{ "name": "a", "valueFrom": {} }, { "name": "b", "value": "2" }] }),
        ),
        (
            &two,
            json!({ "env": [{ "name": "a", "$patch": "delete" }, { "name": "z", "$patch": "delete" }] }),
            json!({ "env": [{ "name": "b", "value": "2" }] }),
        ),
        (
            &two,
            json!({ "env": [{ "name": "c" }, { "$patch": "replace" }] }),
            json!({ "env": [{ "name": "c" }] }),
        ),
        (
            &two,
            json!({ "env": [{ "name": "a", "$patch": "merge", "value": "3" }] }),
            json!({ "env": [{ "name": "a", "value": "3" }, { "name": "b", "value": "2" }] }),
        ),
        (&two, json!({ "env": null }), json!({})),
        (&two, json!({ "env": [] }), two.clone()),
        (
            &ports,
            json!({ "ports": [{ "containerPort": 1, "name": "y" }, { "containerPort": 2 }] }),
            json!({ "ports": [{ "containerPort": 1, "name": "y" }, { "containerPort": 2 }] }),
        ),
        // Others are replaced.
        (&arguments, json!({ "args": ["c"] }), json!({ "args": ["c"], "tolerations": [{ "key": "a" }] })),
        (
            &arguments,
            json!({ "tolerations": [{ "key": "b", "value": null }], "args": [] }),
            json!({ "args": [], "tolerations": [{ "key": "b" }] }),
        ),
    ];
    for (base, patch, expected) in cases {
        let result = merged(base.clone(), &patch).unwrap();
        assert_eq!(result, expected, "{patch}");
    }
}

#[test]
fn each_list_has_the_key_of_its_type() {
    let cases = [
        ("containers", "name"),
        ("initContainers", "name"),
        ("ephemeralContainers", "name"),
        ("volumes", "name"),
        ("imagePullSecrets", "name"),
        ("env", "name"),
        ("resourceClaims", "name"),
        ("schedulingGates", "name"),
        ("volumeMounts", "mountPath"),
        ("volumeDevices", "devicePath"),
        ("ports", "containerPort"),
        ("hostAliases", "ip"),
        ("topologySpreadConstraints", "topologyKey"),
    ];
    for (list, key) in cases {
        let base = json!({ list: [{ key: "one", "old": 1 }, { key: "two" }] });
        let patch = json!({ list: [{ key: "two", "new": 2 }] });
        let expected = json!({ list: [{ key: "one", "old": 1 }, { key: "two", "new": 2 }] });
        assert_eq!(merged(base, &patch).unwrap(), expected, "{list}");
    }
}

#[test]
fn directives_that_cannot_be_followed_are_named() {
    let cases = [
        (json!({ "a": { "$patch": "drop" } }), "a.$patch must be replace, delete or merge, and is \"drop\""),
        (json!({ "a": { "$patch": 1 } }), "a.$patch must be"),
        (json!({ "a": { "$retainKeys": ["x"] } }), "a.$retainKeys is a directive that is not supported"),
        (json!({ "$setElementOrder/containers": [] }), "$setElementOrder/containers is a directive"),
        (
            json!({ "env": [{ "name": "a", "$deleteFromPrimitiveList/x": [] }] }),
            "env[0].$deleteFromPrimitiveList/x is a directive",
        ),
        (json!({ "env": [{ "value": "1" }] }), "env[0].name is missing"),
        (json!({ "env": [{ "$patch": "delete" }] }), "env[0].name is missing"),
        (json!({ "env": ["a"] }), "env[0] must be an object"),
        (json!({ "env": [{ "name": "a", "$patch": "replace" }] }), "env[0].$patch replace stands alone"),
        (json!({ "tolerations": [{ "$patch": "replace" }] }), "tolerations[0].$patch has no meaning here"),
        (json!({ "tolerations": [{ "$retainKeys": [] }] }), "tolerations[0].$retainKeys is a directive"),
        (json!({ "new": { "deep": { "$patch": "nope" } } }), "new.deep.$patch must be"),
    ];
    for (patch, expected) in cases {
        let error = merged(json!({}), &patch).unwrap_err();
        assert!(error.starts_with(expected), "{error} on {patch}");
    }
}

fn patched(patch: &Value) -> Result<Value, String> {
    patched_of(json!({ "podTemplatePatch": patch }))
}

fn patched_of(mut spec: Value) -> Result<Value, String> {
    spec["models"] = json!([{ "modelId": "a/b" }]);
    let spec: InferenceDeploymentSpec = serde_json::from_value(spec).unwrap();
    let names = Names { name: "m".to_owned(), namespace: "n".to_owned() };
    let daemon = spec.validate().unwrap().daemon;
    let defaults = Defaults { image: "ostro:1".to_owned() };
    let input = pod::PodInput { defaults: &defaults, config_map: "m-config-h" };
    let template = pod::build(&names, &spec, &daemon, &input).map_err(|problems| problems.to_string())?;
    Ok(serde_json::to_value(template).unwrap())
}

#[test]
fn a_patch_reaches_every_field_of_the_template() {
    let patch = json!({
        "metadata": { "annotations": { "a": "b" }, "labels": { "team": "x" } },
        "spec": {
            "hostNetwork": true, "securityContext": { "fsGroup": null },
            "containers": [{ "name": "ostro", "env": [{ "name": "HOME", "value": "/x" }] }, { "name": "side", "image": "s" }],
        },
    });
    let template = patched(&patch).unwrap();
    assert_eq!(template["metadata"]["annotations"]["a"], "b");
    assert_eq!(template["metadata"]["labels"]["team"], "x");
    assert_eq!(template["spec"]["hostNetwork"], true);
    assert_eq!(template["spec"]["securityContext"].get("fsGroup"), None);
    assert_eq!(template["spec"]["containers"][0]["image"], "ostro:1");
    assert_eq!(template["spec"]["containers"][0]["env"][1], json!({ "name": "HOME", "value": "/x" }));
    assert_eq!(template["spec"]["containers"][1], json!({ "name": "side", "image": "s" }));
    assert_eq!(patched(&json!({})).unwrap(), patched(&Value::Null).unwrap());
}

#[test]
fn what_breaks_the_template_is_named() {
    let daemon = |fields: Value| {
        let mut container = json!({ "name": "ostro" });
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "spec": { "containers": [container] } })
    };
    let cases = [
        (
            json!({ "spec": { "containres": [] } }),
            "spec.podTemplatePatch.spec.containres is not a field of a pod template",
        ),
        (daemon(json!({ "imag": "x" })), "spec.podTemplatePatch.spec.containers[0].imag is not a field"),
        (
            json!({ "spec": { "hostNetwork": "yes" } }),
            "spec.podTemplatePatch.spec.hostNetwork does not fit: invalid type",
        ),
        (
            json!({ "spec": { "containers": { "name": "x" } } }),
            "spec.podTemplatePatch.spec.containers does not fit",
        ),
        (json!({ "$patch": "delete" }), "spec.podTemplatePatch"),
        (json!({ "spec": null }), "spec.podTemplatePatch.spec is missing"),
        (
            json!({ "metadata": { "labels": { "app.kubernetes.io/name": "x" } } }),
            "spec.podTemplatePatch.metadata.labels[app.kubernetes.io/name] must stay ostro",
        ),
        (
            json!({ "metadata": { "labels": null } }),
            "spec.podTemplatePatch.metadata.labels[app.kubernetes.io/instance] must stay m",
        ),
        (
            daemon(json!({ "$patch": "delete" })),
            "spec.podTemplatePatch.spec.containers must keep the container ostro",
        ),
        (
            daemon(json!({ "volumeMounts": [{ "mountPath": "/etc/ostro", "$patch": "delete" }] })),
            "spec.podTemplatePatch.spec.containers[ostro].volumeMounts must keep config at /etc/ostro",
        ),
        (
            daemon(json!({ "volumeMounts": [{ "mountPath": "/etc/ostro", "name": "tmp" }] })),
            "spec.podTemplatePatch.spec.containers[ostro].volumeMounts must keep config",
        ),
        (
            json!({ "spec": { "volumes": [{ "name": "config", "configMap": { "name": "x" } }] } }),
            "spec.podTemplatePatch.spec.volumes[config] must stay the ConfigMap m-config-h",
        ),
        (
            daemon(json!({ "env": [{ "name": "OSTRO_DRAIN_SECONDS", "value": "200" }] })),
            "spec.podTemplatePatch.spec.containers[ostro].env[OSTRO_DRAIN_SECONDS] must stay: rollout.drainSeconds",
        ),
        (
            json!({ "spec": { "terminationGracePeriodSeconds": 74 } }),
            "spec.podTemplatePatch.spec.terminationGracePeriodSeconds must be at least 75: rollout.drainSeconds",
        ),
        (
            json!({ "spec": { "terminationGracePeriodSeconds": null } }),
            "spec.podTemplatePatch.spec.terminationGracePeriodSeconds must be at least 75: rollout.drainSeconds",
        ),
        (
            daemon(json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 1000 } } } })),
            "spec.podTemplatePatch.spec.terminationGracePeriodSeconds must be at least 1070: preStop sleeps, then",
        ),
        (
            daemon(json!({ "$retainKeys": [] })),
            "spec.podTemplatePatch.spec.containers[0].$retainKeys is a directive",
        ),
    ];
    for (patch, expected) in cases {
        let error = patched(&patch).unwrap_err();
        assert!(error.starts_with(expected), "{error} on {patch}");
    }
}

#[test]
fn a_container_without_an_image_is_told_with_the_daemons_name() {
    for (list, name, image) in [("containers", "daemon", Value::Null), ("initContainers", "warm", json!(""))]
    {
        let error = patched(&json!({ "spec": { list: [{ "name": name, "image": image }] } })).unwrap_err();
        let expected = format!("spec.podTemplatePatch.spec.{list}[{name}].image is missing: the daemon's");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn what_a_stateful_set_has_of_its_own_is_refused_there_only() {
    for (pod, field) in [
        (
            json!({ "volumes": [{ "name": "cache", "persistentVolumeClaim": null, "emptyDir": {} }] }),
            "volumes[cache]",
        ),
        (json!({ "hostname": "x" }), "hostname"),
        (json!({ "subdomain": "x" }), "subdomain"),
    ] {
        let with = |own: bool| {
            let volume = json!({ "size": "1Gi", "perReplica": own });
            patched_of(json!({ "cache": { "volume": volume }, "podTemplatePatch": { "spec": pod } }))
        };
        with(false).unwrap();
        let error = with(true).unwrap_err();
        let expected = format!("spec.podTemplatePatch.spec.{field} is the StatefulSet's");
        assert!(error.starts_with(&expected), "{error}");
    }
}
