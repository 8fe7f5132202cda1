use serde_json::{Value, json};

use super::*;

mod gpu;
mod network;
mod stateful_set;

fn object(spec: Value) -> InferenceDeployment {
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "n", "uid": "u" },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn built(spec: Value) -> Vec<Value> {
    let object = object(spec);
    let valid = object.spec.validate().unwrap();
    let defaults = Defaults { image: "ostro:1".to_owned() };
    let rendering = render(&object, &valid, &defaults).unwrap();
    let kept = Kept { rendering, spec_hash: inputs_hash(&object.spec), number: 1 };
    build(&object, &kept).iter().map(|prepared| json!(prepared.object)).collect()
}

fn with(fields: Value) -> Value {
    let mut spec = json!({ "models": [{ "modelId": "a/b" }] });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

fn of_kind(objects: &[Value], kind: &str) -> Option<Value> {
    objects.iter().find(|object| object["kind"] == kind).cloned()
}

fn budget(spec: Value) -> i32 {
    let deployment = of_kind(&built(spec), "Deployment").unwrap();
    let pod = serde_json::from_value(deployment["spec"]["template"].clone()).unwrap();
    startup_time(&pod).unwrap().budget_seconds
}

fn pod(fields: Value) -> Value {
    of_kind(&built(with(fields)), "Deployment").unwrap()["spec"]["template"].clone()
}

/// Which the rules keep free.
#[test]
fn the_operators_mounts_are_those_that_no_volume_may_take() {
    let pod = pod(json!({}));
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let paths: Vec<&str> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert_eq!(paths, ostro_crds::MOUNT_PATHS);
}

#[test]
fn the_least_object_wants_five_others() {
    let objects = built(with(json!({})));
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ControllerRevision", "ConfigMap", "Service", "Deployment"]);
    for object in &objects {
        assert_eq!(object["metadata"]["namespace"], "n");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(object["metadata"]["labels"][MANAGED_BY], "ostro-operator");
    }
    let config = of_kind(&objects, "ConfigMap").unwrap();
    assert_eq!(config["data"]["ostro.toml"], "[[models]]\nmodel_id = \"a/b\"\n");
    assert_eq!(objects, built(with(json!({}))));
    for name in ["other", "m"] {
        let objects = built(with(json!({ "serviceAccountName": name })));
        assert_eq!(of_kind(&objects, "ServiceAccount"), None, "{name}");
    }
}

/// In the foreground, until the pods have gone: until GPUs are free.
#[test]
fn the_deletion_of_an_object_waits_for_what_makes_its_pods() {
    let own = json!({ "cache": { "volume": { "size": "1Gi", "perReplica": true } } });
    for (fields, expected) in [(json!({}), "Deployment"), (own, "StatefulSet")] {
        let objects = built(with(fields));
        let waits = |object: &&Value| object["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] == true;
        let kinds: Vec<&Value> = objects.iter().filter(waits).map(|object| &object["kind"]).collect();
        assert_eq!(kinds, [expected]);
    }
}

#[test]
fn pods_keep_the_restricted_standard() {
    let pod = pod(json!({}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["spec"]["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["args"], json!(["from-config", "-f", "/etc/ostro/ostro.toml"]));
    assert_eq!(container["image"], "ostro:1");
}

#[test]
fn a_changed_configuration_replaces_pods_and_nothing_else_does() {
    let config = |fields: Value| {
        let objects = built(with(fields));
        let name = of_kind(&objects, "ConfigMap").unwrap()["metadata"]["name"].clone();
        let deployment = of_kind(&objects, "Deployment").unwrap();
        let volume = &deployment["spec"]["template"]["spec"]["volumes"][0];
        assert_eq!(volume, &json!({ "name": "config", "configMap": { "name": name } }));
        name
    };
    assert_ne!(config(json!({ "runtime": { "maxSeqs": 4 } })), config(json!({})));
    for same in [
        json!({ "replicas": 5 }),
        json!({ "service": { "port": 81 } }),
        json!({ "disruptionBudget": { "minAvailable": 1 } }),
    ] {
        assert_eq!(pod(same.clone()), pod(json!({})), "{same}");
    }
}

#[test]
fn every_cache_is_mounted_where_the_daemon_looks() {
    let cases = [
        (json!({}), "emptyDir"),
        (json!({ "cache": { "sizeLimit": "1Gi" } }), "emptyDir"),
        (json!({ "cache": { "volume": { "size": "1Gi" } } }), "persistentVolumeClaim"),
        (json!({ "cache": { "existingClaim": { "name": "c" } } }), "persistentVolumeClaim"),
        (json!({ "cache": { "hostPath": { "path": "/x" } } }), "hostPath"),
        (json!({ "cache": { "image": { "reference": "r" } } }), "image"),
    ];
    for (fields, source) in cases {
        let pod = pod(fields.clone());
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let cache = volumes.iter().find(|volume| volume["name"] == "cache").unwrap();
        assert!(cache.get(source).is_some(), "{cache}");
        assert_eq!(cache.as_object().unwrap().len(), 2, "{cache}");
        let has_claim = of_kind(&built(with(fields.clone())), "PersistentVolumeClaim").is_some();
        assert_eq!(has_claim, fields["cache"].get("volume").is_some(), "{fields}");
    }
    let home = &pod(json!({}))["spec"]["containers"][0]["env"][0];
    assert_eq!(*home, json!({ "name": "HF_HOME", "value": "/var/cache/ostro" }));
}

/// The daemon is told its time, and nobody kills it before: not while the Service forgets it, nor at its end.
#[test]
fn a_pod_has_the_time_to_drain_that_its_daemon_is_told() {
    let seconds = |seconds: i64| json!({ "rollout": { "drainSeconds": seconds } });
    // The last where the API server does not keep the rules.
    for (fields, drain, grace) in [
        (json!({}), "60", 75),
        (seconds(3600), "3600", 3615),
        (seconds(i64::MAX), "9223372036854775807", i64::MAX),
    ] {
        let pod = &pod(fields)["spec"];
        let container = &pod["containers"][0];
        let told = json!({ "name": "OSTRO_DRAIN_SECONDS", "value": drain });
        assert!(container["env"].as_array().unwrap().contains(&told), "{container}");
        assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
        assert_eq!(pod["terminationGracePeriodSeconds"], grace);
    }
}

#[test]
fn a_budget_never_blocks_the_drain_of_a_lone_pod() {
    assert_eq!(of_kind(&built(with(json!({}))), "PodDisruptionBudget"), None);
    let two = of_kind(&built(with(json!({ "replicas": 2 }))), "PodDisruptionBudget").unwrap();
    assert_eq!(two["spec"]["maxUnavailable"], 1);
    assert_eq!(two["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
}

#[test]
fn own_variables_win() {
    let env = json!({ "env": [{ "name": "HF_HOME", "value": "/mine" }] });
    let pod = pod(env);
    let variables = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let home: Vec<&Value> = variables.iter().filter(|variable| variable["name"] == "HF_HOME").collect();
    assert_eq!(home, [&json!({ "name": "HF_HOME", "value": "/mine" })]);
}

#[test]
fn probes_have_a_budget_for_every_model() {
    let objects = built(json!({ "models": [{ "modelId": "a" }, { "modelId": "b" }] }));
    let deployment = of_kind(&objects, "Deployment").unwrap();
    let probe = &deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"];
    assert_eq!(probe["httpGet"]["path"], "/ready");
    assert_eq!(probe["failureThreshold"].as_i64().unwrap() * probe["periodSeconds"].as_i64().unwrap(), 3600);
    for (startup, expected) in [
        (json!({ "periodSeconds": 10, "failureThreshold": 6 }), 60),
        (json!({ "failureThreshold": 6 }), 12),
        (json!({ "periodSeconds": 10 }), 1800),
        (json!({ "periodSeconds": 7 }), 1806),
        (json!({ "periodSeconds": 3600 }), 3600),
    ] {
        let own = with(json!({ "probes": { "startup": startup } }));
        assert_eq!(budget(own.clone()), expected, "{own}");
    }
    let probe = json!({ "name": "ostro", "startupProbe": { "initialDelaySeconds": 300 } });
    let late = with(json!({ "podTemplatePatch": { "spec": { "containers": [probe] } } }));
    assert_eq!(budget(late), 2100);
}

/// A held template stays whole, whoever else looks at the spec.
#[test]
fn what_pods_depend_on_comes_from_what_is_kept() {
    let old = object(with(json!({ "server": { "port": 81 }, "networkPolicy": { "enabled": true } })));
    let defaults = Defaults { image: "ostro:1".to_owned() };
    let mut rendering = render(&old, &old.spec.validate().unwrap(), &defaults).unwrap();
    rendering.template["spec"]["fieldOfALaterVersion"] = 1.into();
    let kept = Kept { rendering: rendering.clone(), spec_hash: inputs_hash(&old.spec), number: 3 };
    let new = json!({
        "server": { "port": 82 }, "networkPolicy": { "enabled": true }, "serviceAccountName": "other",
        "replicas": 4, "probes": { "startup": { "failureThreshold": 1 } },
    });
    let objects = build(&object(with(new)), &kept);
    let objects: Vec<Value> = objects.iter().map(|one| json!(one.object)).collect();
    let deployment = of_kind(&objects, "Deployment").unwrap();
    assert_eq!(deployment["spec"]["template"], rendering.template);
    let spec = &deployment["spec"];
    assert_eq!((&spec["progressDeadlineSeconds"], &spec["replicas"]), (&json!(2400), &json!(4)));
    assert_eq!(of_kind(&objects, "ConfigMap").unwrap()["data"]["ostro.toml"], rendering.config);
    assert!(of_kind(&objects, "ServiceAccount").is_some());
    let policy = of_kind(&objects, "NetworkPolicy").unwrap();
    assert_eq!(policy["spec"]["ingress"][0]["ports"], json!([{ "protocol": "TCP", "port": 81 }]));
    assert_eq!(of_kind(&objects, "ControllerRevision").unwrap()["revision"], 3);
}
