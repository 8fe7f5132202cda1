//! Specs that cannot work: the status names the cause within half a minute, or the API server refuses them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hub::{self, GATED, Hub, MODEL, TOKEN};
use crate::objects::{OSTRO, get, object, ready_in};
use crate::support::{Cluster, await_until};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The reason that an object's status must give, and a part of its message.
struct Case {
    name: &'static str,
    spec: Value,
    reason: &'static str,
    part: &'static str,
}

pub(crate) fn check(cluster: &Cluster) {
    let hub = hub::start(cluster);
    for token in [TOKEN, "wrong"] {
        cluster.apply(&secret(token));
    }
    for cases in [of_models(&hub), of_pods()] {
        await_told(cluster, cases);
    }
    refused_at_once(cluster);
}

/// With the seconds until each was told. One command applies them all: one for each would take longer than most of
/// what is measured.
fn await_told(cluster: &Cluster, mut waiting: Vec<Case>) {
    let objects: Vec<_> = waiting.iter().map(|case| object(case.name, &case.spec)).collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
    let start = Instant::now();
    await_until("reasons of all", || {
        let objects = get(cluster, &["infd"]);
        waiting.retain(|case| !is_told(&objects, case, start));
        let names: Vec<_> = waiting.iter().map(|case| case.name).collect();
        assert!(start.elapsed() < LIMIT, "not told within {LIMIT:?}: {names:?}");
        waiting.is_empty()
    });
}

fn is_told(objects: &Value, case: &Case, start: Instant) -> bool {
    let mut objects = objects["items"].as_array().unwrap().iter();
    let object = objects.find(|object| object["metadata"]["name"] == case.name).unwrap();
    let ready = ready_in(object).unwrap_or_default();
    let message = ready["message"].as_str().unwrap_or_default();
    let is_told = ready["reason"] == case.reason && message.contains(case.part);
    if is_told {
        eprintln!("  {}: {} after {:.1} s", case.name, case.reason, start.elapsed().as_secs_f64());
        eprintln!("    {message}");
    }
    is_told
}

fn case(name: &'static str, spec: Value, reason: &'static str, part: &'static str) -> Case {
    Case { name, spec, reason, part }
}

/// Of a model that nobody has.
fn with(more: Value) -> Value {
    let mut spec = json!({ "models": [{ "modelId": "/absent/model.gguf" }] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn of_models(hub: &Hub) -> Vec<Case> {
    let of_hub = |model: &str, token: &str| {
        json!({
            "models": [{ "modelId": model }],
            "pagedAttn": { "contextLen": 256 },
            "env": hub.environment(),
            "huggingFaceToken": { "secretKeyRef": { "name": token, "key": "token" } },
        })
    };
    let mut one_of_two = of_hub(MODEL, TOKEN);
    one_of_two["models"].as_array_mut().unwrap().push(json!({ "modelId": "/absent/model.gguf" }));
    vec![
        // By its daemon while the other loads, and by its end after that.
        case("one-of-two", one_of_two, "ModelNotFound", "/absent/model.gguf"),
        case("downloads", of_hub(MODEL, TOKEN), "AllReady", ""),
        case("wrong-token", of_hub(MODEL, "wrong"), "HFUnauthorized", "huggingFaceToken"),
        case("gated", of_hub(GATED, TOKEN), "HFGatedModel", GATED),
        case("no-such-model", of_hub("karpathy/none", TOKEN), "ModelNotFound", "karpathy/none"),
        case("no-such-path", with(json!({})), "ModelNotFound", "/absent/model.gguf"),
        case(
            "too-large",
            with(json!({ "resources": { "requests": { "cpu": "1000" } } })),
            "Unschedulable",
            "Insufficient cpu",
        ),
        case(
            "no-such-class",
            with(json!({ "cache": { "volume": { "size": "1Gi", "storageClassName": "none" } } })),
            "PVCUnbound",
            "\"none\"",
        ),
        case("not-supported", with(json!({ "runtime": { "agent": true } })), "InvalidConfig", "agent"),
    ]
}

/// What keeps their containers from being made.
fn of_pods() -> Vec<Case> {
    let patched = |spec: Value| with(json!({ "podTemplatePatch": { "spec": spec } }));
    vec![
        case(
            "no-such-secret",
            with(
                json!({ "volumes": [{ "name": "s", "mountPath": "/s", "secret": { "secretName": "none" } }] }),
            ),
            "SecretMissing",
            "\"none\" not found",
        ),
        case(
            "no-such-map",
            with(json!({ "volumes": [{ "name": "s", "mountPath": "/s", "configMap": { "name": "none" } }] })),
            "VolumeFailed",
            "\"none\" not found",
        ),
        case(
            "no-folder",
            with(json!({ "cache": { "hostPath": { "path": "/proc/version", "type": "Directory" } } })),
            "VolumeFailed",
            "hostPath type check failed",
        ),
        case(
            "no-room",
            with(json!({ "resources": { "limits": { "memory": "1" } } })),
            "ContainerFailed",
            "memory",
        ),
        case(
            "no-image",
            with(
                json!({ "cache": { "image": { "reference": "registry.local/models:none", "pullPolicy": "Never" } } }),
            ),
            "ImagePullFailed",
            "cache.image",
        ),
        case(
            "init-fails",
            patched(json!({ "initContainers": [{ "name": "fetch", "image": OSTRO, "args": ["none"] }] })),
            "CrashLoop",
            "the init container fetch ended with code 2",
        ),
        case(
            "side-image",
            patched(
                json!({ "containers": [{ "name": "side", "image": "registry.local/side:none", "imagePullPolicy": "Never" }] }),
            ),
            "ImagePullFailed",
            "of the container side",
        ),
        case("no-scheduler", patched(json!({ "schedulerName": "none" })), "Unschedulable", "one named none?"),
        case("no-node", patched(json!({ "nodeName": "none" })), "NodeSilent", "the node none"),
        case(
            "refused",
            patched(json!({ "nodeName": "node1", "nodeSelector": { "no": "node" } })),
            "PodFailed",
            "NodeAffinity",
        ),
    ]
}

/// Values out of bounds never become objects.
fn refused_at_once(cluster: &Cluster) {
    let spec = json!({ "models": [{ "modelId": "a/b" }], "runtime": { "maxSeqs": 0 } });
    let output = cluster.kubectl_input(&["apply", "-f", "-"], &object("bad-value", &spec).to_string());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("spec.runtime.maxSeqs"), "{error}");
}

fn secret(token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": token, "namespace": "default" },
        "stringData": { "token": token },
    })
}
