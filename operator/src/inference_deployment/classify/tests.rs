use serde_json::{Value, json};

use super::*;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const NOTHING: Signals<'_> =
    Signals { pods: &[], refusal: None, claims: &[], startup_budget_seconds: 60, needs_spare: true };

fn container(state: Value, last_state: Value) -> Value {
    json!({ "containerStatuses": [{
        "name": "ostro", "image": "r/i:1", "imageID": "", "ready": false, "restartCount": 1,
        "state": state, "lastState": last_state,
    }] })
}

fn crash(code: i32, reason: &str, message: &str, seconds: i64) -> Value {
    let finished = format!("2026-01-01T00:{:02}:{:02}Z", seconds / 60, seconds % 60);
    let terminated = json!({
        "exitCode": code, "reason": reason, "message": message,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": finished,
    });
    container(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), json!({ "terminated": terminated }))
}

fn check(status: Value, expected: Reason, words: &str) {
    let pod: Pod = serde_json::from_value(json!({ "status": status })).unwrap();
    let cause =
        classify(&Signals { pods: &[&pod], ..NOTHING }).unwrap_or_else(|| panic!("{status} has no cause"));
    assert_eq!(cause.reason, expected, "{status}");
    assert!(cause.message.contains(words), "{}", cause.message);
}

#[test]
fn each_failure_has_its_reason_and_its_words() {
    let scheduled = |message: &str| json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] });
    check(
        scheduled("0/2 nodes are available: 2 Insufficient cpu."),
        Reason::Unschedulable,
        "Insufficient cpu",
    );
    check(scheduled(UNBOUND), Reason::PvcUnbound, UNBOUND);
    let waiting = |reason: &str, message: &str| {
        container(json!({ "waiting": { "reason": reason, "message": message } }), json!({}))
    };
    check(waiting("ImagePullBackOff", "not found"), Reason::ImagePullFailed, "cannot pull r/i:1: not found");
    check(
        waiting("CreateContainerConfigError", "secret \"t\" not found"),
        Reason::SecretMissing,
        "secret \"t\"",
    );
    check(waiting("RunContainerError", "no such file"), Reason::ContainerFailed, "no such file");
    check(crash(137, "OOMKilled", "", 5), Reason::HostOutOfMemory, "limits.memory");
    check(crash(137, "Error", "", 61), Reason::StartupBudgetExceeded, "60 s");
    let says = |words: &str| crash(1, "Error", &format!("2026 INFO loading\nerror: {words}\n"), 3);
    check(
        says("cannot load: o/m is gated: accept its conditions at x"),
        Reason::HfGatedModel,
        "code 1: error: cannot",
    );
    check(
        says("the hub refuses o/m (x): it needs a token; check token_source"),
        Reason::HfUnauthorized,
        "huggingFaceToken",
    );
    check(says("cannot reach the hub for o/m: dns error"), Reason::HubUnreachable, "dns error");
    check(says("/models/x.gguf does not exist"), Reason::ModelNotFound, "/models/x.gguf does not exist");
    check(
        says("/etc/ostro/ostro.toml:3: runtime.x is not a known key"),
        Reason::InvalidConfig,
        "ostro.toml:3",
    );
    check(says("out of luck"), Reason::CrashLoop, "out of luck");
}

/// Of a Deployment all pods share one claim, of a StatefulSet each has its own.
#[test]
fn the_claim_that_a_pod_waits_for_is_named() {
    let pod = |claim: Option<&str>| -> Pod {
        let unbound = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNBOUND }]);
        let claim = claim.map(|name| json!({ "claimName": name }));
        let volumes = json!([{ "name": "cache", "persistentVolumeClaim": claim }]);
        let spec = json!({ "containers": [], "volumes": volumes });
        serde_json::from_value(json!({ "spec": spec, "status": { "conditions": unbound } })).unwrap()
    };
    let claim = |name: &str, class: Value| -> PersistentVolumeClaim {
        let spec = json!({ "storageClassName": class });
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
    };
    let claims =
        [claim("cache-m-0", json!("fast")), claim("cache-m-1", json!("nope")), claim("m-cache", Value::Null)];
    let cases = [
        (Some("cache-m-1"), "the claim cache-m-1 is not bound: does the storage class \"nope\" exist"),
        (Some("m-cache"), "the claim m-cache is not bound: the cluster has no default storage class"),
        (Some("somebodys"), UNBOUND),
        (None, UNBOUND),
    ];
    for (name, words) in cases {
        let pod = pod(name);
        let cause = classify(&Signals { pods: &[&pod], claims: &claims, ..NOTHING }).unwrap();
        assert_eq!(cause.reason, Reason::PvcUnbound, "{name:?}");
        assert!(cause.message.starts_with(words), "{name:?}: {}", cause.message);
    }
}

#[test]
fn what_starts_or_runs_has_no_cause() {
    let running = json!({ "containerStatuses": [{
        "name": "ostro", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": { "running": {} },
    }] });
    let ready = json!({ "containerStatuses": [{
        "name": "ostro", "image": "", "imageID": "", "ready": true, "restartCount": 3, "state": { "running": {} },
        "lastState": { "terminated": { "exitCode": 1 } },
    }] });
    for status in [json!({}), running, ready] {
        let pod: Pod = serde_json::from_value(json!({ "status": status })).unwrap();
        assert_eq!(classify(&Signals { pods: &[&pod], ..NOTHING }), None, "{status}");
    }
}

#[test]
fn a_missing_gpu_is_named() {
    let of = |message: &str, needs_spare: bool| {
        let status = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] });
        let pod: Pod = serde_json::from_value(json!({ "status": status })).unwrap();
        let cause = classify(&Signals { pods: &[&pod], needs_spare, ..NOTHING }).unwrap();
        assert_eq!(cause.reason, Reason::Unschedulable, "{message}");
        assert!(cause.message.starts_with(message), "{}", cause.message);
        cause.message[message.len()..].to_owned()
    };
    let plain = " Change spec.resources, nodeSelector, tolerations or affinity, or add nodes.";
    let cases = [
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
            Some("nvidia.com/gpu"),
        ),
        (
            "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/mig-1g.10gb, 3 Insufficient memory.",
            Some("nvidia.com/mig-1g.10gb"),
        ),
        ("0/1 nodes are available: 1 Insufficient amd.com/gpu.", Some("amd.com/gpu")),
        ("0/2 nodes are available: 2 Insufficient cpu.", None),
        ("0/1 nodes are available: 1 Insufficient example.com/fpga.", None),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}.", None),
        ("0/1 nodes are available: 1 Insufficient ", None),
    ];
    for (message, gpu) in cases {
        let hint = of(message, true);
        let words = gpu.map(|gpu| format!(" No node has enough {gpu} left:")).unwrap_or_default();
        assert!(hint.starts_with(&words) && hint.ends_with(plain), "{hint}");
        assert_eq!(hint == plain, gpu.is_none(), "{hint}");
        assert_eq!(hint.contains("strategy Recreate"), gpu.is_some(), "{hint}");
        // As one that has that strategy, or a StatefulSet, which refuses it.
        let hint = of(message, false);
        assert!(hint.starts_with(&words) && !hint.contains("Recreate"), "{hint}");
    }
}

#[test]
fn refused_pods_are_told_of() {
    let of = |message: &str| {
        let cause = classify(&Signals { refusal: Some(message), ..NOTHING }).unwrap();
        assert!(cause.message.starts_with(message), "{}", cause.message);
        (cause.reason, cause.message[message.len()..].to_owned())
    };
    assert_eq!(of("exceeded quota: q").0, Reason::QuotaExceeded);
    let by_event =
        "create Pod m-0 in StatefulSet m failed error: pods \"m-0\" is forbidden: exceeded quota: q";
    assert_eq!(of(by_event).0, Reason::QuotaExceeded);
    assert_eq!(of("violates PodSecurity \"restricted\""), (Reason::PodsRejected, String::new()));
    let (reason, hint) = of("pods \"m-5d4-\" is forbidden: pod rejected: RuntimeClass \"nvidia\" not found");
    assert_eq!(reason, Reason::PodsRejected);
    assert!(hint.contains("spec.runtimeClassName"), "{hint}");
}
