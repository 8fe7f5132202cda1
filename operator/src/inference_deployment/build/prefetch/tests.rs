use serde_json::{Value, json};

use super::*;
use crate::inference_deployment::build::{Defaults, inputs_hash, job_prefix, render};

fn object(name: &str, fields: Value) -> InferenceDeployment {
    let mut spec = json!({
        "models": [{ "modelId": "a/b" }], "cache": { "volume": { "size": "1Gi" }, "prefetch": true },
        "resources": { "limits": { "nvidia.com/gpu": "1" } }, "networkPolicy": { "enabled": true },
    });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let metadata = json!({ "name": name, "namespace": "n", "uid": "u" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

fn kept(owner: &InferenceDeployment) -> Kept {
    let defaults = Defaults { image: "ostro:1".to_owned() };
    let rendering = render(owner, &owner.spec.validate().unwrap(), &defaults).unwrap();
    Kept { rendering, spec_hash: inputs_hash(&owner.spec), number: 1 }
}

fn kinds(prefetch: &Prefetch) -> Vec<String> {
    prefetch.prepared.iter().map(|one| format!("{:?}", one.kind)).collect()
}

#[test]
fn without_pods_all_but_what_makes_them_is_there_before_the_models_are() {
    let owner = object("m", json!({}));
    let prefetch = Prefetch::before(&owner, None, &kept(&owner)).unwrap();
    assert_eq!(
        kinds(&prefetch),
        [
            "ServiceAccount",
            "ConfigMap",
            "PersistentVolumeClaim",
            "Service",
            "NetworkPolicy",
            "NetworkPolicy",
            "Job"
        ]
    );
    let job = json!(prefetch.prepared.last().unwrap().object);
    assert_eq!(job["metadata"]["name"], prefetch.name);
    let tolerated = json!([{ "key": "nvidia.com/gpu", "operator": "Exists" }]);
    assert_eq!(job["spec"]["template"]["spec"]["tolerations"], tolerated);
    let template = &job["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["pull", "-f", "/etc/ostro/ostro.toml", "--listen", "0.0.0.0:1234"]));
    assert_eq!(container["resources"]["limits"], json!({ "cpu": "2", "memory": "512Mi" }));
    for field in ["startupProbe", "livenessProbe", "lifecycle"] {
        assert!(container.get(field).is_none(), "{field}");
    }
    // No Service, budget or Deployment takes its pods for the daemon's.
    let names = Names::of(&owner);
    let labels = template["metadata"]["labels"].as_object().unwrap();
    assert!(names.selector().iter().any(|(label, value)| labels[label] != **value));
    let policy = json!(prefetch.prepared[5].object);
    let selected = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
    assert!(selected.iter().all(|(label, value)| labels[label] == *value));
    assert_eq!(template["spec"]["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn a_port_of_the_node_is_the_daemons() {
    let port = json!({ "name": "ostro", "ports": [{ "containerPort": 1234, "hostPort": 80 }] });
    let patch = json!({ "podTemplatePatch": { "spec": { "hostNetwork": true, "containers": [port] } } });
    let owner = object("m", patch);
    let prefetch = Prefetch::before(&owner, None, &kept(&owner)).unwrap();
    let pod = prefetch.prepared.last().unwrap().object.data["spec"]["template"]["spec"].clone();
    assert!(pod.get("hostNetwork").is_none(), "{pod}");
    let ports = pod["containers"][0]["ports"].as_array().unwrap();
    assert!(
        ports.iter().all(|port| port.get("hostPort").is_none()) && ports[0]["name"] == "http",
        "{ports:?}"
    );
}

#[test]
fn pods_of_before_stay_as_they_are_until_the_models_are_there() {
    let (owner, next) = (object("m", json!({})), object("m", json!({ "models": [{ "modelId": "c/d" }] })));
    let (before, kept) = (kept(&owner), kept(&next));
    let prefetch = Prefetch::before(&next, Some(&before), &kept).unwrap();
    let deployment = prefetch.prepared.iter().find(|one| one.kind == ChildKind::Deployment).unwrap();
    assert_eq!(deployment.object.data["spec"]["template"], before.rendering.template);
    let configs = prefetch.prepared.iter().filter(|one| one.kind == ChildKind::ConfigMap);
    let configs: Vec<String> = configs.map(|one| one.object.data["data"][FILE].to_string()).collect();
    assert!(configs.len() == 2 && configs[0].contains("c/d") && configs[1].contains("a/b"), "{configs:?}");
}

#[test]
fn the_job_has_the_account_that_it_names_and_what_a_patch_gives_pods() {
    let init = json!({ "name": "i", "image": "x", "resources": { "limits": { "nvidia.com/gpu": "1", "cpu": "1" } } });
    let patch = json!({
        "metadata": { "annotations": { "sidecar.istio.io/inject": "false" } }, "spec": { "initContainers": [init] },
    });
    let owner = object("m", json!({ "serviceAccountName": "mine" }));
    let next = object("m", json!({ "models": [{ "modelId": "c/d" }], "podTemplatePatch": patch }));
    let prefetch = Prefetch::before(&next, Some(&kept(&owner)), &kept(&next)).unwrap();
    let accounts = prefetch.prepared.iter().filter(|one| one.kind == ChildKind::ServiceAccount);
    let accounts: Vec<String> = accounts.map(|one| one.object.name_any()).collect();
    let job = prefetch.own().last().unwrap();
    let template = &job.object.data["spec"]["template"];
    assert_eq!((accounts, &template["spec"]["serviceAccountName"]), (vec!["m".to_owned()], &json!("m")));
    assert_eq!(template["metadata"]["annotations"]["sidecar.istio.io/inject"], "false");
    assert_eq!(template["spec"]["initContainers"][0]["resources"]["limits"], json!({ "cpu": "1" }));
}

/// Else it might be on a node that lacks it, since nothing leads it to those with GPUs. A sandbox is for all pods.
#[test]
fn the_job_has_no_runtime_of_gpus() {
    let runtime = |class: &str| {
        let owner = object("m", json!({ "runtimeClassName": class }));
        let prefetch = Prefetch::before(&owner, None, &kept(&owner)).unwrap();
        let job = prefetch.prepared.last().unwrap();
        job.object.data["spec"]["template"]["spec"].get("runtimeClassName").cloned()
    };
    assert_eq!(runtime("nvidia"), None);
    assert_eq!(runtime("gvisor"), Some(json!("gvisor")));
}

#[test]
fn only_other_models_or_another_place_are_waited_for() {
    let owner = object("m", json!({}));
    let before = kept(&owner);
    let is_needed = |fields: Value| {
        let next = object("m", fields);
        Prefetch::before(&next, Some(&before), &kept(&next)).is_some()
    };
    for fields in [
        json!({}),
        json!({ "image": "ostro:2" }),
        json!({ "cache": { "volume": { "size": "1Gi" } }, "models": [{ "modelId": "c/d" }] }),
    ] {
        assert!(!is_needed(fields.clone()), "{fields}");
    }
    for fields in [
        json!({ "models": [{ "modelId": "c/d" }] }),
        json!({ "models": [{ "modelId": "a/b" }, { "modelId": "c/d" }] }),
        json!({ "cache": { "existingClaim": { "name": "c" }, "prefetch": true } }),
    ] {
        assert!(is_needed(fields.clone()), "{fields}");
    }
}

/// A Job's name is a label of its pods.
#[test]
fn names_of_jobs_are_of_their_object_and_fit_a_label() {
    for name in ["m", &"a".repeat(63), &format!("{}-{}", "a".repeat(36), "b".repeat(20))] {
        let owner = object(name, json!({}));
        let job = Prefetch::before(&owner, None, &kept(&owner)).unwrap().name;
        assert!(job.len() <= 63 && job.starts_with(&job_prefix(name, Purpose::Prefetch)), "{job}");
        assert!(!job.contains("--"), "{job}");
    }
}
