mod nodes;
mod scheduling;

use serde_json::{Value, json};

use super::*;
use crate::inference_deployment::build::startup_time;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const NOTHING: Signals<'_> = Signals {
    pods: &[],
    refusal: None,
    claims: &[],
    startup: Some(StartupTime { budget_seconds: 60, period_seconds: 2, late_seconds: 0 }),
    needs_spare: true,
    is_complete: false,
    now: Timestamp::UNIX_EPOCH,
};

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
    check(
        waiting("ImagePullBackOff", "Back-off pulling image \"r/i:1\": not found"),
        Reason::ImagePullFailed,
        "cannot pull r/i:1: Back-off pulling image \"r/i:1\": not found; is spec.image right",
    );
    check(
        waiting("ImagePullBackOff", "Back-off pulling image \"r/i:1\": ErrImagePull: r/i:1: not found"),
        Reason::ImagePullFailed,
        "cannot pull r/i:1: r/i:1: not found; is spec.image right",
    );
    check(
        waiting("ImagePullBackOff", "Back-off pulling image \"r/models:1\": not found"),
        Reason::ImagePullFailed,
        "cannot pull an image of the daemon: Back-off pulling image \"r/models:1\": not found; is the image that spec.image, cache.image or volumes name right",
    );
    check(
        waiting("CreateContainerConfigError", "secret \"t\" not found"),
        Reason::SecretMissing,
        "secret \"t\"",
    );
    check(
        waiting("CreateContainerConfigError", "couldn't find key token in Secret shop/hf"),
        Reason::SecretMissing,
        "huggingFaceToken",
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
    check(says("the hub answers 502 for o/m"), Reason::HubUnreachable, "HF_ENDPOINT");
    check(says("the hub's answer for o/m makes no sense: x"), Reason::HubUnreachable, "HF_ENDPOINT");
    check(says("the hub's address \"x\" is not a URL"), Reason::InvalidConfig, "HF_ENDPOINT");
    check(says("cannot access /c: Permission denied (os error 13)"), Reason::CrashLoop, "user 65532");
    check(crash(137, "Error", "2026 INFO request started", 3), Reason::CrashLoop, "was killed (SIGKILL)");
    check(says("/models/x.gguf does not exist"), Reason::ModelNotFound, "/models/x.gguf does not exist");
    check(
        says("/etc/ostro/ostro.toml:3: runtime.x is not a known key"),
        Reason::InvalidConfig,
        "ostro.toml:3",
    );
    check(
        says("the model needs 93 MiB, 20 MiB of memory are available"),
        Reason::HostOutOfMemory,
        "available; raise resources.limits.memory",
    );
    check(says("no space left for /c/x.incomplete"), Reason::CrashLoop, "by cache.volume.size");
    check(says("out of luck"), Reason::CrashLoop, "out of luck");
    let words = "runc: cannot chdir to /etc/ostro/x";
    check(crash(128, "StartError", words, 0), Reason::ContainerFailed, words);
}

#[test]
fn a_daemon_that_has_served_did_not_miss_its_startup_budget() {
    check(crash(0, "Completed", "", 3000), Reason::CrashLoop, "liveness probe");
    check(crash(137, "Error", "", 3000), Reason::CrashLoop, "was killed (SIGKILL)");
    let turned = |time: &str| {
        let mut status = crash(0, "Completed", "", 61);
        let condition =
            |kind: &str, time: &str| json!({ "type": kind, "status": "False", "lastTransitionTime": time });
        // As of a pod whose gate nobody opens.
        status["conditions"] =
            json!([condition("Ready", "2026-01-01T00:00:00Z"), condition("ContainersReady", time)]);
        status
    };
    check(turned("2026-01-01T00:01:01Z"), Reason::CrashLoop, "liveness probe");
    check(turned("2026-01-01T00:00:00Z"), Reason::StartupBudgetExceeded, "60 s");
}

#[test]
fn a_startup_probe_gives_up_a_period_early_or_after_late_answers() {
    let cases = [
        (json!({ "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 300 }), 597, 690),
        (json!({ "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 300 }), 597, 1590),
        (json!({ "periodSeconds": 60, "timeoutSeconds": 5, "failureThreshold": 10 }), 539, 690),
        (json!({}), 19, 120),
    ];
    for (probe, soonest, latest) in cases {
        let daemon = json!({ "name": "ostro", "startupProbe": probe });
        let template = serde_json::from_value(json!({ "spec": { "containers": [daemon] } })).unwrap();
        let reason = |ran: i64| {
            let status = crash(0, "Completed", "", ran);
            let pod: Pod = serde_json::from_value(json!({ "status": status })).unwrap();
            let startup = startup_time(&template);
            classify(&Signals { pods: &[&pod], startup, ..NOTHING }).unwrap().reason
        };
        for (ran, expected) in [
            (soonest - 1, Reason::CrashLoop),
            (soonest, Reason::StartupBudgetExceeded),
            (latest, Reason::StartupBudgetExceeded),
            (latest + 1, Reason::CrashLoop),
        ] {
            assert_eq!(reason(ran), expected, "{daemon}: {ran}");
        }
    }
}

#[test]
fn no_end_is_one_of_a_startup_probe_that_is_not_there() {
    for ran in [0, 5, 61] {
        let pod: Pod = serde_json::from_value(json!({ "status": crash(137, "Error", "", ran) })).unwrap();
        let cause = classify(&Signals { pods: &[&pod], startup: None, ..NOTHING }).unwrap();
        assert_eq!(cause.reason, Reason::CrashLoop, "{ran}");
    }
}

#[test]
fn long_words_keep_their_beginning_and_their_end() {
    let says = || crash(1, "Error", &format!("error: {}; do y\n", "é".repeat(1500)), 3);
    check(says(), Reason::CrashLoop, "…éé");
    check(says(), Reason::CrashLoop, "é; do y");
}

#[test]
fn other_containers_are_told_by_their_names() {
    let of = |name: &str, state: Value| {
        let status = json!({
            "name": name, "image": "r/x:1", "imageID": "", "ready": false, "restartCount": 1, "state": state,
        });
        json!([status])
    };
    let creating = of("ostro", json!({ "waiting": { "reason": "PodInitializing" } }));
    let init = |state: Value| json!({ "initContainerStatuses": of("fetch", state), "containerStatuses": creating.clone() });
    let failed = |code: i32, message: &str| json!({ "terminated": { "exitCode": code, "reason": "Error", "message": message } });
    check(
        init(failed(3, "error: no room\n")),
        Reason::CrashLoop,
        "the init container fetch ended with code 3: error: no room; kubectl logs  -c fetch",
    );
    let unpulled = json!({ "waiting": { "reason": "ErrImagePull", "message": "r/x:1: not found" } });
    check(
        init(unpulled.clone()),
        Reason::ImagePullFailed,
        "cannot pull r/x:1 of the init container fetch: r/x:1: not found; see spec.podTemplatePatch",
    );
    let killed_by = |code: i32| json!({ "terminated": { "exitCode": code } });
    let killed = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    check(
        json!({ "containerStatuses": of("side", killed) }),
        Reason::HostOutOfMemory,
        "the container side was killed for memory",
    );
    check(
        json!({ "containerStatuses": of("side", unpulled) }),
        Reason::ImagePullFailed,
        "cannot pull r/x:1 of the container side",
    );
    // The kubelet sorts them by name.
    let both = [of("istio", killed_by(3)), of("ostro", killed_by(1))].map(|one| one[0].clone());
    check(json!({ "containerStatuses": both }), Reason::CrashLoop, "the daemon ended with code 1");
    let done: Pod = serde_json::from_value(json!({ "status": init(failed(0, "")) })).unwrap();
    assert_eq!(classify(&Signals { pods: &[&done], ..NOTHING }), None);
}

/// Which of the two an init container is, its spec tells.
#[test]
fn a_sidecar_that_ends_is_told_however_it_ends() {
    let pod = |policy: Value, state: Value| -> Pod {
        let status = json!({
            "name": "side", "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state,
            "lastState": { "terminated": { "exitCode": 0 } },
        });
        let init = json!([{ "name": "side", "restartPolicy": policy }]);
        let spec = json!({ "containers": [], "initContainers": init });
        serde_json::from_value(json!({ "spec": spec, "status": { "initContainerStatuses": [status] } }))
            .unwrap()
    };
    let cause = |pod: Pod| classify(&Signals { pods: &[&pod], ..NOTHING }).map(|cause| cause.message);
    let states = [
        json!({ "running": {} }),
        json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        json!({ "terminated": { "exitCode": 0 } }),
    ];
    for state in states {
        let told = cause(pod("Always".into(), state.clone())).unwrap();
        assert!(told.starts_with("the container side ended with code 0"), "{told}");
        assert_eq!(cause(pod(Value::Null, state)), None);
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
    let mut started = running.clone();
    started["containerStatuses"][0]["started"] = true.into();
    started["containerStatuses"][0]["lastState"] =
        json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    for status in [json!({}), running, ready, started] {
        let pod: Pod = serde_json::from_value(json!({ "status": status })).unwrap();
        assert_eq!(classify(&Signals { pods: &[&pod], ..NOTHING }), None, "{status}");
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
