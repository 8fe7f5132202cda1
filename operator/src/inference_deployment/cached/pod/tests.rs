use serde_json::{Value, json};

use super::*;

fn of_replica_set(name: &str, hash: &str) -> Value {
    json!({
        "name": "m-1", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": { "app.kubernetes.io/instance": "m", "pod-template-hash": hash },
        "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "r", "controller": true },
        ],
    })
}

#[test]
fn a_pod_is_whose_it_is_its_daemon_and_its_status() {
    let daemon = json!({
        "name": "ostro", "image": "ostro:1", "imageID": "", "ready": true, "restartCount": 1, "containerID": "c",
        "state": { "running": {} }, "lastState": { "terminated": { "exitCode": 1 } }, "started": true,
    });
    let side = json!({ "name": "sidecar", "image": "", "imageID": "", "ready": true, "restartCount": 0 });
    let of_kind = |kind: &str| json!({ "type": kind, "status": "True" });
    let read = ["ContainersReady", "PodScheduled", "Ready"].map(of_kind);
    let conditions = [vec![of_kind("Initialized")], read.to_vec()].concat();
    let cache = json!({ "name": "cache", "persistentVolumeClaim": { "claimName": "cache-m-1" } });
    let mut metadata = of_replica_set("m-5d4", "5d4");
    metadata["annotations"] = json!({ "inference.ostro.dev/template-hash": "h", "other": "x" });
    let pod = json!({
        "metadata": metadata,
        "spec": {
            "nodeName": "x", "schedulerName": "s",
            "containers": [{
                "name": "ostro", "image": "ostro:1", "ports": [{ "containerPort": 1 }],
                "lifecycle": { "preStop": { "sleep": { "seconds": 5 } }, "postStart": { "exec": { "command": ["x"] } } },
            }],
            "volumes": [
                { "name": "tmp", "emptyDir": {} },
                cache,
                { "name": "config", "configMap": { "name": "m-config-1", "defaultMode": 420 } },
            ],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "conditions": conditions,
            "containerStatuses": [side, daemon], "startTime": "2026-01-01T00:00:00Z", "reason": "r",
        },
    });
    let cached: CachedPod = serde_json::from_value(pod).unwrap();
    assert_eq!(
        (cached.instance(), kube::Resource::meta(&cached).namespace.as_deref()),
        (Some("m"), Some("n"))
    );
    let expected = json!({
        "metadata": {
            "name": "m-1", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": { "inference.ostro.dev/template-hash": "h" },
        },
        "spec": {
            "containers": [{ "name": "ostro", "ports": [{ "containerPort": 1 }], "lifecycle": { "postStart": {} } }],
            "volumes": [cache, { "name": "config", "configMap": { "name": "m-config-1" } }],
        },
        "status": { "podIP": "10.0.0.1", "conditions": read, "containerStatuses": [side, daemon] },
    });
    let mut expected: Pod = serde_json::from_value(expected).unwrap();
    expected.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[1].restart_count = 0;
    assert_eq!(cached.kept().pod(), expected);
}

#[test]
fn of_a_pod_that_nobody_has_taken_its_node_or_scheduler_is_kept() {
    let kept = |spec: Value, status: Value| {
        let metadata = of_replica_set("m-5d4", "5d4");
        let pod = json!({ "metadata": metadata, "spec": spec, "status": status });
        serde_json::from_value::<CachedPod>(pod).unwrap().kept().pod()
    };
    let spec = |node: Value| json!({ "containers": [], "nodeName": node, "schedulerName": "s" });
    let names = |pod: &Pod| {
        let spec = pod.spec.clone().unwrap();
        (spec.node_name, spec.scheduler_name)
    };
    assert_eq!(names(&kept(spec(Value::Null), json!({}))), (None, Some("s".to_owned())));
    assert_eq!(names(&kept(spec("x".into()), json!({}))), (Some("x".to_owned()), None));
    let mut other = spec("x".into());
    other["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }]);
    let volumes = |status: Value| kept(other.clone(), status).spec.unwrap().volumes.unwrap_or_default().len();
    assert_eq!([volumes(json!({})), volumes(json!({ "startTime": "2026-01-01T00:00:00Z" }))], [1, 0]);
    let failed = json!({ "phase": "Failed", "reason": "Evicted", "message": "no room" });
    assert_eq!(serde_json::to_value(kept(spec("x".into()), failed.clone()).status).unwrap(), failed);
    let ended = json!({ "phase": "Succeeded", "startTime": "2026-01-01T00:00:00Z" });
    assert_eq!(serde_json::to_value(kept(spec("x".into()), ended.clone()).status).unwrap(), ended);
}

#[test]
fn labels_alone_make_no_pod_an_objects() {
    let instance = |metadata: Value| {
        let pod: CachedPod = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        pod.instance().map(str::to_owned)
    };
    let of = |kind: &str, name: &str| {
        let mut metadata = of_replica_set(name, "5d4");
        metadata["ownerReferences"][0]["kind"] = kind.into();
        metadata
    };
    for (metadata, is_own) in [
        (of("ReplicaSet", "m-5d4"), true),
        (of("StatefulSet", "m"), true),
        (of("ReplicaSet", "m-5d5"), false),
        (of("ReplicaSet", "other-5d4"), false),
        (of("StatefulSet", "other"), false),
        (of("Job", "m-prefetch-5d4"), true),
        (of("Job", "m"), false),
        (of("Job", "m-other"), false),
        (json!({ "name": "p", "labels": { "app.kubernetes.io/instance": "m" } }), false),
        (json!({ "name": "p" }), false),
    ] {
        assert_eq!(instance(metadata.clone()), is_own.then(|| "m".to_owned()), "{metadata}");
    }
}

#[test]
fn of_thousands_of_items_the_first_are_kept_and_a_pod_that_is_too_long_is_nobodys() {
    let cached = |count: usize, word: &str| {
        let claim = |index: usize| json!({ "name": format!("v{index}"), "persistentVolumeClaim": { "claimName": word } });
        let template = json!({ "spec": { "volumeName": word } });
        let ephemeral = json!({ "name": "e", "ephemeral": { "volumeClaimTemplate": template } });
        let volumes: Vec<Value> = [ephemeral].into_iter().chain((1..count).map(claim)).collect();
        let sidecar = json!({ "name": "s", "restartPolicy": "Always" });
        let spec = json!({ "containers": [], "volumes": volumes, "initContainers": vec![sidecar; count] });
        let ready = json!({ "type": "Ready", "status": "True" });
        let status = json!({ "conditions": vec![ready; count] });
        let pod = json!({ "metadata": of_replica_set("m-5d4", "5d4"), "spec": spec, "status": status });
        serde_json::from_value::<CachedPod>(pod).unwrap()
    };
    let kept = cached(1000, "c").kept().pod();
    let (spec, conditions) = (kept.spec.unwrap(), kept.status.unwrap().conditions.unwrap());
    let volumes = spec.volumes.unwrap();
    assert_eq!(volumes[0].ephemeral, Some(EphemeralVolumeSource::default()));
    let counts = [volumes.len(), spec.init_containers.unwrap().len(), conditions.len()];
    assert_eq!(counts, [ITEMS_MAX; 3]);
    assert_eq!(cached(2, &"c".repeat(POD_BYTES_MAX)).instance(), None);
}

#[test]
fn a_pod_that_cannot_be_read_is_nobodys() {
    let pod = |late: Value| {
        let mut metadata = of_replica_set("m-5d4", "5d4");
        metadata["managedFields"] = json!([{ "time": "9999-12-31T23:59:59Z" }]);
        let pod = json!({ "metadata": metadata, "status": { "startTime": late } });
        let pod: CachedPod = serde_json::from_value(pod).unwrap();
        pod.instance().map(str::to_owned)
    };
    assert_eq!(pod("2026-01-01T00:00:00Z".into()), Some("m".to_owned()));
    assert_eq!(pod("9999-12-31T23:59:59Z".into()), None);
}
