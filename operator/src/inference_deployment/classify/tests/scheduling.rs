//! Pods without a node.

use super::*;

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
    let mut bound = claim("bound", json!("fast"));
    bound.status = serde_json::from_value(json!({ "phase": "Bound" })).unwrap();
    let claims = [claim("cache-m-1", json!("nope")), claim("m-cache", Value::Null), bound];
    let cases = [
        (Some("cache-m-1"), "the claim cache-m-1 is not bound: does the storage class \"nope\" exist"),
        (Some("m-cache"), "the claim m-cache is not bound: the cluster has no default storage class"),
        // Then it is another of the pod's claims that is not.
        (Some("bound"), UNBOUND),
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
fn a_claim_that_another_pod_has_is_told_as_that() {
    let words = "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and \
                 ReadWriteOncePod access mode";
    let status = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": format!("{words}.") }] });
    check(status, Reason::Unschedulable, &format!("{words}; {ONE_HOLDER}"));
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
