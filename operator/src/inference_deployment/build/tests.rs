use serde_json::{Value, json};

use super::*;

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
    startup_budget_seconds(&serde_json::from_value(deployment["spec"]["template"].clone()).unwrap())
}

fn pod(fields: Value) -> Value {
    of_kind(&built(with(fields)), "Deployment").unwrap()["spec"]["template"].clone()
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
    let hash = |fields: Value| pod(fields)["metadata"]["annotations"].clone();
    assert_ne!(hash(json!({ "runtime": { "maxSeqs": 4 } })), hash(json!({})));
    for same in [
        json!({ "replicas": 5 }),
        json!({ "service": { "port": 81 } }),
        json!({ "disruptionBudget": { "minAvailable": 1 } }),
    ] {
        assert_eq!(pod(same.clone()), pod(json!({})), "{same}");
    }
}

#[test]
fn ports_follow_the_server() {
    let objects = built(with(json!({ "server": { "port": 8000 }, "networkPolicy": { "enabled": true } })));
    let deployment = of_kind(&objects, "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], 8000);
    assert_eq!(of_kind(&objects, "Service").unwrap()["spec"]["ports"][0]["targetPort"], "http");
    let policy = of_kind(&objects, "NetworkPolicy").unwrap();
    // From everywhere: clients, Prometheus, and the operator, which asks for the models' state.
    assert_eq!(policy["spec"]["ingress"], json!([{ "ports": [{ "protocol": "TCP", "port": 8000 }] }]));
    assert_eq!(policy["spec"]["egress"].as_array().unwrap().len(), 2);
    let offline = json!({ "networkPolicy": { "enabled": true, "offline": true } });
    assert_eq!(of_kind(&built(with(offline.clone())), "NetworkPolicy").unwrap()["spec"]["egress"], json!([]));
    let names: Vec<Value> = pod(offline)["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].clone())
        .collect();
    assert!(names.contains(&json!("HF_HUB_OFFLINE")), "{names:?}");
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

#[test]
fn a_budget_never_blocks_the_drain_of_a_lone_pod() {
    assert_eq!(of_kind(&built(with(json!({}))), "PodDisruptionBudget"), None);
    let two = of_kind(&built(with(json!({ "replicas": 2 }))), "PodDisruptionBudget").unwrap();
    assert_eq!(two["spec"]["maxUnavailable"], 1);
    assert_eq!(two["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
}

/// The daemon's port has this name in the Service and in the pod.
#[test]
fn a_monitor_selects_what_the_object_serves() {
    for (kind, endpoints) in [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")] {
        let labels = json!({ "release": "prometheus" });
        let monitoring = json!({ "kind": kind, "labels": labels, "interval": "1m", "scrapeTimeout": "10s" });
        let objects = built(with(json!({ "monitoring": monitoring, "server": { "port": 8000 } })));
        let monitors: Vec<&Value> =
            objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Monitor")).collect();
        assert_eq!(monitors.len(), 1, "{monitors:?}");
        let monitor = monitors[0];
        assert_eq!(
            (&monitor["kind"], &monitor["apiVersion"]),
            (&json!(kind), &json!("monitoring.coreos.com/v1"))
        );
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let endpoint =
            json!({ "port": "http", "path": "/metrics", "interval": "1m", "scrapeTimeout": "10s" });
        assert_eq!(monitor["spec"][endpoints], json!([endpoint]));
        let template = of_kind(&objects, "Deployment").unwrap()["spec"]["template"].clone();
        let service = of_kind(&objects, "Service").unwrap();
        assert_eq!(template["spec"]["containers"][0]["ports"][0]["name"], "http");
        assert_eq!(service["spec"]["ports"][0]["name"], "http");
        let selector = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        assert_eq!(selector.len(), 2, "{selector:?}");
        for (label, value) in selector {
            for selected in [&service["metadata"]["labels"][label], &template["metadata"]["labels"][label]] {
                assert_eq!(selected, value, "{label}");
            }
        }
    }
    let plain = of_kind(&built(with(json!({ "monitoring": {} }))), "ServiceMonitor").unwrap();
    assert_eq!(plain["spec"]["endpoints"], json!([{ "port": "http", "path": "/metrics" }]));
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
    let own = with(json!({ "probes": { "startup": { "periodSeconds": 10, "failureThreshold": 6 } } }));
    assert_eq!(budget(own), 60);
}

fn gpu(limit: Value) -> Value {
    json!({ "resources": { "limits": { "nvidia.com/gpu": limit } } })
}

#[test]
fn what_a_gpu_pod_asks_for_is_passed_on_as_written() {
    let written = json!({
        "resources": {
            "requests": { "cpu": "4", "memory": "16Gi" },
            "limits": { "nvidia.com/gpu": "1", "memory": "32Gi" },
        },
        "runtimeClassName": "nvidia",
        "nodeSelector": { "nvidia.com/gpu.product": "NVIDIA-H200" },
        "tolerations": [{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }],
    });
    let spec = pod(written.clone())["spec"].clone();
    for name in ["runtimeClassName", "nodeSelector", "tolerations"] {
        assert_eq!(spec[name], written[name], "{name}");
    }
    assert_eq!(spec["containers"][0]["resources"], written["resources"]);
    // People write a whole number, which the API server keeps.
    assert_eq!(pod(gpu(json!(1))), pod(gpu(json!("1"))));
    let mig = json!({ "resources": { "limits": { "nvidia.com/mig-1g.10gb": "1" } } });
    assert_eq!(pod(mig.clone())["spec"]["containers"][0]["resources"], mig["resources"]);
}

#[test]
fn a_gpu_changes_nothing_but_its_kernels_cache_and_the_time_to_start() {
    let is_other = |object: &Value| object["kind"] != "ControllerRevision";
    let mut plain = built(with(json!({ "cache": { "volume": { "size": "1Gi" } } })));
    plain.retain(is_other);
    let mut fields = gpu(json!("1"));
    fields["cache"] = json!({ "volume": { "size": "1Gi" } });
    let mut with_gpu = built(with(fields));
    with_gpu.retain(is_other);
    let of = with_gpu.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
    let before = of_kind(&plain, "Deployment").unwrap();
    of["metadata"]["annotations"] = before["metadata"]["annotations"].clone();
    of["spec"]["progressDeadlineSeconds"] = before["spec"]["progressDeadlineSeconds"].clone();
    let container = &mut of["spec"]["template"]["spec"]["containers"][0];
    let resources = container.as_object_mut().unwrap().remove("resources");
    assert_eq!(resources, Some(json!({ "limits": { "nvidia.com/gpu": "1" } })));
    container["startupProbe"]["failureThreshold"] =
        before["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["failureThreshold"].clone();
    let cache = container["env"].as_array_mut().unwrap().pop();
    assert_eq!(cache, Some(json!({ "name": "CUDA_CACHE_PATH", "value": "/var/cache/ostro/cuda" })));
    assert_eq!(with_gpu, plain);
}

#[test]
fn kernels_are_cached_where_the_pod_can_write() {
    let own = json!([{ "name": "CUDA_CACHE_PATH", "value": "/mine" }]);
    let cases = [
        ("nvidia.com/gpu", "1", json!({}), Some("/var/cache/ostro/cuda")),
        ("nvidia.com/mig-1g.10gb", "1", json!({}), Some("/var/cache/ostro/cuda")),
        ("amd.com/gpu", "1", json!({}), Some("/var/cache/ostro/cuda")),
        ("nvidia.com/gpu", "0", json!({}), None),
        ("example.com/gpu-fan", "1", json!({}), None),
        ("memory", "1Gi", json!({}), None),
        (
            "nvidia.com/gpu",
            "1",
            json!({ "cache": { "volume": { "size": "1Gi" } } }),
            Some("/var/cache/ostro/cuda"),
        ),
        (
            "nvidia.com/gpu",
            "1",
            json!({ "cache": { "existingClaim": { "name": "c" } } }),
            Some("/var/cache/ostro/cuda"),
        ),
        ("nvidia.com/gpu", "1", json!({ "cache": { "hostPath": { "path": "/x" } } }), Some("/tmp/cuda")),
        ("nvidia.com/gpu", "1", json!({ "cache": { "image": { "reference": "r" } } }), Some("/tmp/cuda")),
        ("nvidia.com/gpu", "1", json!({ "env": own }), Some("/mine")),
    ];
    for (resource, quantity, mut fields, expected) in cases {
        fields["resources"] = json!({ "limits": { resource: quantity } });
        let container = pod(fields.clone())["spec"]["containers"][0].clone();
        let variables = container["env"].as_array().unwrap().iter();
        let found: Vec<&Value> = variables.filter(|variable| variable["name"] == "CUDA_CACHE_PATH").collect();
        let values: Vec<&str> = found.iter().filter_map(|variable| variable["value"].as_str()).collect();
        assert_eq!(values, expected.into_iter().collect::<Vec<_>>(), "{fields}");
        if let Some(folder) = expected.filter(|folder| *folder != "/mine") {
            let mut mounts = container["volumeMounts"].as_array().unwrap().iter();
            let is_under = |mount: &Value| folder.starts_with(mount["mountPath"].as_str().unwrap());
            let mount = mounts.find(|mount| is_under(mount)).unwrap();
            assert_ne!(mount["readOnly"], true, "{fields}");
        }
    }
}

/// 1800 s a model for the download; once a pod, 30 s for the driver and its kernels and 144 s to fill the device.
#[test]
fn a_gpu_adds_its_load_path_to_the_budget_once() {
    let own = json!({ "periodSeconds": 10, "failureThreshold": 6 });
    let cases = [
        (1, json!({}), 1800),
        (2, json!({}), 3600),
        (1, gpu(json!("1")), 1974),
        (2, gpu(json!("1")), 3774),
        (1, gpu(json!("2")), 1974),
        (1, gpu(json!("0")), 1800),
        (1, json!({ "resources": { "requests": { "nvidia.com/mig-1g.10gb": "1" } } }), 1974),
        (1, json!({ "resources": { "limits": { "cpu": "8", "memory": "64Gi" } } }), 7920),
        (1, json!({ "resources": gpu(json!("1"))["resources"], "probes": { "startup": own } }), 60),
    ];
    for (models, fields, expected) in cases {
        let mut spec = with(fields);
        spec["models"] = (0..models).map(|id| json!({ "modelId": format!("a/{id}") })).collect();
        assert_eq!(budget(spec.clone()), expected, "{spec}");
        let deployment = of_kind(&built(spec.clone()), "Deployment").unwrap();
        assert_eq!(deployment["spec"]["progressDeadlineSeconds"], expected + 600, "{spec}");
    }
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
