use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-01-01T00:00:00Z";

fn pod(spec: Value, status: Value) -> Pod {
    let mut spec = spec;
    spec["containers"] = json!([]);
    let metadata = json!({ "name": "p", "uid": "u", "creationTimestamp": CREATED });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
}

fn after(seconds: u64) -> Timestamp {
    CREATED.parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)
}

fn waiting(reason: &str) -> Value {
    container("ostro", json!({ "waiting": { "reason": reason } }))
}

fn container(name: &str, state: Value) -> Value {
    json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state })
}

fn event(second: u8, kind: &str, reason: &str, note: &str) -> Event {
    let event = json!({
        "type": kind, "reason": reason, "note": note, "eventTime": null, "regarding": { "uid": "u" },
        "deprecatedLastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
    });
    serde_json::from_value(event).unwrap()
}

#[test]
fn a_pod_is_stuck_until_a_container_was_made() {
    let is_stuck = |status: Value| !Stuck::find(&[&pod(json!({}), status)], after(60)).is_empty();
    let init = |state: Value| {
        json!({
            "initContainerStatuses": [container("fetch", state)],
            "containerStatuses": [waiting("PodInitializing")],
        })
    };
    assert!(is_stuck(json!({})));
    assert!(is_stuck(json!({ "containerStatuses": [waiting("ContainerCreating")] })));
    assert!(is_stuck(init(json!({ "waiting": { "reason": "PodInitializing" } }))));
    assert!(is_stuck(init(json!({ "terminated": { "exitCode": 0 } }))));
    assert!(!is_stuck(init(json!({ "running": {} }))));
    assert!(!is_stuck(json!({ "containerStatuses": [container("ostro", json!({ "running": {} }))] })));
    assert!(!is_stuck(json!({ "phase": "Failed" })));
    let mut again = waiting("CrashLoopBackOff");
    again["lastState"] = json!({ "terminated": { "exitCode": 1 } });
    assert!(!is_stuck(json!({ "containerStatuses": [again] })));
}

#[test]
fn the_latest_complaint_counts_until_the_kubelet_gets_on() {
    let pod = pod(json!({}), json!({ "conditions": [{ "type": "PodScheduled", "status": "True" }] }));
    let stuck = Stuck::find(&[&pod], after(60))[0];
    let told = |events: &[Event]| stuck.cause(events).map(|cause| (cause.reason, cause.message));
    let mount = |second, what: &str| {
        let note = format!("MountVolume.SetUp failed for volume \"v\" : {what} \"x\" not found");
        event(second, "Warning", "FailedMount", &note)
    };
    let sandbox = event(2, "Warning", "FailedCreatePodSandBox", "no memory.");
    let changed = event(3, "Normal", "SandboxChanged", "it will be killed");
    let pulling = |second| event(second, "Normal", "Pulling", "image");
    let has = |events: &[Event], reason, words: &str| {
        let (of, message) = told(events).unwrap();
        assert!(of == reason && message.contains(words), "{message}");
    };
    has(
        &[mount(1, "configmap")],
        Reason::VolumeFailed,
        "configmap \"x\" not found; see spec.cache, spec.volumes",
    );
    has(&[mount(1, "secret")], Reason::SecretMissing, "secret \"x\" not found; see spec.volumes");
    has(
        &[mount(1, "secret"), sandbox.clone(), changed],
        Reason::ContainerFailed,
        "FailedCreatePodSandBox: no memory",
    );
    has(&[pulling(1), sandbox.clone()], Reason::ContainerFailed, "no memory");
    has(&[sandbox.clone(), pulling(2)], Reason::ContainerFailed, "no memory");
    assert_eq!(told(&[sandbox.clone(), pulling(3)]), None);
    let attached = event(4, "Normal", "SuccessfulAttachVolume", "attached");
    assert_eq!(told(&[event(1, "Warning", "FailedAttachVolume", "in use"), attached]), None);
    // Of what stands in no pod's way.
    for reason in
        ["FailedScheduling", "FailedToRetrieveImagePullSecret", "DNSConfigForming", "PolicyViolation"]
    {
        assert_eq!(told(&[event(1, "Warning", reason, "secret \"x\" not found")]), None, "{reason}");
    }
    let named = "volume \"secret-files\" : configmap \"x\" not found";
    has(&[event(1, "Warning", "FailedMount", named)], Reason::VolumeFailed, "secret-files");
    let mut of_another = sandbox;
    of_another.regarding.as_mut().unwrap().uid = Some("other".to_owned());
    assert_eq!(told(&[of_another]), None);
    let claim = event(1, "Warning", "FailedResourceClaimCreation", "resourceclaimtemplate \"t\" not found");
    has(&[claim], Reason::Unschedulable, "\"t\" not found; see spec.podTemplatePatch");
}

/// By the controller that attaches volumes, once; later the kubelet says only that it waits.
#[test]
fn a_volume_that_another_node_has_is_told_until_it_is_attached() {
    let pod = pod(json!({}), json!({}));
    let held = "Multi-Attach error for volume \"v\" Volume is already used by pod(s) m-1";
    let held = event(1, "Warning", "FailedAttachVolume", held);
    let waits =
        event(9, "Warning", "FailedMount", "Unable to attach or mount volumes: context deadline exceeded");
    let told = |events: &[Event]| Stuck::find(&[&pod], after(60))[0].cause(events).map(|cause| cause.message);
    let message = told(&[held.clone(), waits.clone()]).unwrap();
    assert!(message.contains("used by pod(s) m-1; ") && message.ends_with(ONE_HOLDER), "{message}");
    let attached = event(5, "Normal", "SuccessfulAttachVolume", "attached");
    let message = told(&[held, attached, waits]).unwrap();
    assert!(message.contains("deadline exceeded; see spec.cache"), "{message}");
}

#[test]
fn nobody_who_takes_a_pod_is_told_after_a_while() {
    let told = |spec: Value, status: Value, seconds| {
        let pod = pod(spec, status);
        let cause = Stuck::find(&[&pod], after(seconds))[0].cause(&[]);
        cause.map(|cause| (cause.reason, cause.message))
    };
    let other = || json!({ "schedulerName": "mine" });
    assert_eq!(told(other(), json!({}), 14), None);
    let (reason, message) = told(other(), json!({}), 15).unwrap();
    assert!(reason == Reason::Unschedulable && message.ends_with("is there one named mine?"), "{message}");
    let mut waits_for_volume = other();
    waits_for_volume["volumes"] = json!([{ "name": "cache", "persistentVolumeClaim": { "claimName": "c" } }]);
    assert_eq!(told(waits_for_volume.clone(), json!({}), 659), None);
    assert!(told(waits_for_volume, json!({}), 660).is_some());
    let scheduled = |time: &str| json!({ "conditions": [{ "type": "PodScheduled", "status": "True", "lastTransitionTime": time }] });
    assert_eq!(told(json!({}), scheduled(CREATED), 100), None);

    let far = || json!({ "nodeName": "far" });
    assert_eq!(told(far(), json!({}), 9), None);
    let (reason, message) = told(far(), json!({}), 10).unwrap();
    assert!(
        reason == Reason::NodeSilent && message.starts_with("the node far does not take the pod p"),
        "{message}"
    );
    // A node that was chosen, after a while, is there and may be busy.
    let late = || scheduled("2026-01-01T00:00:50Z");
    assert_eq!(told(far(), late(), 139), None);
    assert!(told(far(), late(), 140).is_some());
    let claims = json!({ "resourceClaims": [{ "name": "g", "resourceClaimName": "gpu" }] });
    let (_, message) = told(claims, json!({}), 20).unwrap();
    assert!(message.ends_with("is its ResourceClaim gpu there?"), "{message}");
}

#[test]
fn pods_that_wait_longest_come_first_and_those_that_go_do_not_wait() {
    let of = |name: &str, second: u8, is_going: bool| -> Pod {
        let created = format!("2026-01-01T00:00:{second:02}Z");
        let going = is_going.then_some(CREATED);
        let metadata = json!({ "name": name, "creationTimestamp": created, "deletionTimestamp": going });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    };
    let pods = [
        of("new", 5, false),
        of("going", 0, true),
        of("old", 1, false),
        of("b", 3, false),
        of("c", 4, false),
    ];
    let pods: Vec<&Pod> = pods.iter().collect();
    let found: Vec<String> = Stuck::find(&pods, after(60)).iter().map(|stuck| stuck.pod.name_any()).collect();
    assert_eq!(found, ["old", "b", "c"]);
}

#[test]
fn events_are_asked_for_ever_less_often() {
    let pod = pod(json!({}), json!({}));
    let at = |seconds| Stuck::find(&[&pod], after(seconds))[0];
    assert!(!at(4).is_overdue() && at(5).is_overdue());
    let again = [0, 5, 20, 1000].map(|seconds| at(seconds).again().as_secs());
    assert_eq!(again, [5, 5, 10, 60]);
    // And when somebody's silence is too long.
    let again = [6, 10, 12, 80].map(|seconds| at(seconds).again().as_secs());
    assert_eq!(again, [4, 5, 3, 10]);
}
