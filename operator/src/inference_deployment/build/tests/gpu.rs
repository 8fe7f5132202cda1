//! What a GPU changes of the pods.

use super::*;
use crate::inference_deployment::hold;

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
fn a_gpu_changes_nothing_but_two_variables_and_the_time_to_start() {
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
    let hash = &before["spec"]["template"]["metadata"]["annotations"];
    of["spec"]["template"]["metadata"]["annotations"] = hash.clone();
    of["spec"]["progressDeadlineSeconds"] = before["spec"]["progressDeadlineSeconds"].clone();
    let container = &mut of["spec"]["template"]["spec"]["containers"][0];
    let resources = container.as_object_mut().unwrap().remove("resources");
    assert_eq!(resources, Some(json!({ "limits": { "nvidia.com/gpu": "1" } })));
    container["startupProbe"]["failureThreshold"] =
        before["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["failureThreshold"].clone();
    let variables = container["env"].as_array_mut().unwrap();
    let required = json!({ "name": "OSTRO_REQUIRE_GPU", "value": "1" });
    let cache = json!({ "name": "CUDA_CACHE_PATH", "value": "/var/cache/ostro/cuda" });
    assert_eq!([variables.pop(), variables.pop()], [Some(required), Some(cache)]);
    assert_eq!(with_gpu, plain);
}

/// Variables of the daemon, in their order.
fn variables(fields: &Value) -> Vec<Value> {
    pod(fields.clone())["spec"]["containers"][0]["env"].as_array().unwrap().clone()
}

#[test]
fn a_daemon_is_told_that_its_pod_asks_for_a_gpu() {
    let limit = |resource: &str| json!({ "resources": { "limits": { resource: "1" } } });
    let own = |value: &str| {
        let mut fields = gpu(json!("1"));
        fields["env"] = json!([{ "name": "OSTRO_REQUIRE_GPU", "value": value }]);
        fields
    };
    let cases = [
        (gpu(json!(1)), "1"),
        (gpu(json!("2")), "1"),
        (limit("nvidia.com/gpu.shared"), "1"),
        (limit("nvidia.com/mig-1g.10gb"), "1"),
        // As of the operator's other variables, somebody's own is the one that counts.
        (own("0"), "0"),
    ];
    for (fields, expected) in cases {
        let variables = variables(&fields);
        let told: Vec<&Value> =
            variables.iter().filter(|variable| variable["name"] == "OSTRO_REQUIRE_GPU").collect();
        assert_eq!(told, [&json!({ "name": "OSTRO_REQUIRE_GPU", "value": expected })], "{fields}");
    }
}

/// An upgrade of the operator has nothing to hold of such objects.
#[test]
fn pods_without_a_gpu_have_the_variables_that_they_had() {
    let limit = |resource: &str, amount: &str| json!({ "resources": { "limits": { resource: amount } } });
    let plain = ["HF_HOME", "HOME", "OSTRO_DRAIN_SECONDS", "OSTRO_ALL_MODELS"];
    let other = [plain.as_slice(), &["CUDA_CACHE_PATH"]].concat();
    for (fields, expected) in [
        (json!({}), plain.as_slice()),
        (limit("memory", "1Gi"), &plain),
        (limit("nvidia.com/gpu", "0"), &plain),
        // The daemon runs on NVIDIA's only, and these were never known to it.
        (limit("amd.com/gpu", "1"), &other),
        (limit("nvidia.com/hostdev", "1"), &other),
    ] {
        let variables = variables(&fields);
        let names: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{fields}");
    }
}

#[test]
fn pods_of_an_operator_that_did_not_tell_go_on() {
    let object = object(with(gpu(json!("1"))));
    let defaults = Defaults { image: "ostro:1".to_owned() };
    let rendered = render(&object, &object.spec.validate().unwrap(), &defaults).unwrap();
    let mut before = rendered.clone();
    let variables = before.template["spec"]["containers"][0]["env"].as_array_mut().unwrap();
    variables.retain(|variable| variable["name"] != "OSTRO_REQUIRE_GPU");
    let kept = Kept { rendering: before, spec_hash: inputs_hash(&object.spec), number: 1 };
    let history = History { last_number: 1, newest: Some(Ok(kept.clone())) };
    let plan = hold::plan(&object, &history, rendered);
    assert_eq!(plan.kept, kept);
    assert_eq!(plan.pending.unwrap().paths, ["spec.containers[ostro].env[OSTRO_REQUIRE_GPU]"]);
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
        (1, json!({ "resources": { "limits": { "nvidia.com/mig-1g.10gb": "1" } } }), 1974),
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
