//! Pods that a node ended, or never took.

use super::*;

#[test]
fn pods_that_go_or_have_failed_are_not_those_that_crash() {
    let mut crashed = crash(1, "Error", "error: no", 3);
    let pod = |metadata: Value, status: &Value| -> Pod {
        serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap()
    };
    let going = pod(json!({ "name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z" }), &crashed);
    assert_eq!(classify(&Signals { pods: &[&going], ..NOTHING }), None);
    crashed["phase"] = "Failed".into();
    crashed["reason"] = "Evicted".into();
    let failed = pod(json!({ "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z" }), &crashed);
    let at = |seconds: i64, is_complete: bool| {
        let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(seconds as u64);
        let (pods, cause) = (&[&failed], Reason::PodFailed);
        let signals = Signals { pods, is_complete, now, ..NOTHING };
        assert_eq!(signals.due().is_some(), classify(&signals).is_some());
        classify(&signals).map(|told| assert_eq!(told.reason, cause)).is_some()
    };
    assert_eq!([at(1, false), at(119, false), at(1, true), at(200, false)], [true, true, false, false]);
}

#[test]
fn a_failed_pod_that_goes_or_has_a_ready_successor_is_no_cause() {
    let pod = |name: &str, created: u8, more: Value, status: Value| -> Pod {
        let mut metadata =
            json!({ "name": name, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z") });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({ "metadata": metadata, "status": status })).unwrap()
    };
    let failed = |more: Value| {
        let ended = json!({ "terminated": { "exitCode": 137, "finishedAt": "2026-01-01T00:00:20Z" } });
        let mut status = container(ended, json!({}));
        status["phase"] = "Failed".into();
        pod("failed", 0, more, status)
    };
    let ready = |created| {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        pod("ready", created, json!({}), ready)
    };
    let is_told = |pods: &[&Pod]| {
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        classify(&Signals { pods, now, ..NOTHING }).is_some()
    };
    assert!(is_told(&[&failed(json!({})), &ready(10)]));
    assert!(!is_told(&[&failed(json!({})), &ready(20)]));
    assert!(!is_told(&[&failed(json!({ "deletionTimestamp": "2026-01-01T00:00:25Z" }))]));
}

/// As one that waited for its node.
#[test]
fn a_pod_that_was_refused_late_is_told() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "status": { "phase": "Failed", "reason": "OutOfcpu", "startTime": "2026-01-01T01:00:00Z" },
    }))
    .unwrap();
    let now = "2026-01-01T01:00:01Z".parse().unwrap();
    let cause = classify(&Signals { pods: &[&pod], now, ..NOTHING }).unwrap();
    assert_eq!(cause.reason, Reason::PodFailed);
}
