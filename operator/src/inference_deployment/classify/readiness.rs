//! Pods that are not ready although all of their containers are: a readiness gate that nobody opens, or a node that is
//! not heard of, of whose pods Kubernetes says so before it gives them up.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use kube::ResourceExt;
use ostro_crds::Reason;

use super::{Cause, cause};

/// Who opens a gate, such as a load balancer's controller, takes its time.
const GATE_PATIENCE: Duration = Duration::from_secs(60);
/// The kubelet's word.
const GATED: &str = "ReadinessGatesNotReady";

/// Why the pod is not ready.
pub(super) fn withheld(pod: &Pod, now: Timestamp) -> Option<Cause> {
    let ready = unready(pod.status.as_ref()?)?;
    let name = pod.name_any();
    if !is_gated(ready) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let hint = "is it there, and does its kubelet run?";
        return cause(
            Reason::NodeSilent,
            format!("the node {node} tells nothing of the pod {name} any more: {hint}"),
        );
    }
    let message = ready.message.as_deref().unwrap_or_default();
    let hint = "see readinessGates in spec.podTemplatePatch, and whoever opens them";
    cause(Reason::ReadinessGated, format!("the pod {name} is not ready: {message}; {hint}"))
        .filter(|_| left(ready, now).is_none())
}

/// When a gate will have been shut for long.
pub(super) fn due(pods: &[&Pod], now: Timestamp) -> Option<Duration> {
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref());
    let gated = statuses.filter_map(unready).filter(|ready| is_gated(ready));
    gated.filter_map(|ready| left(ready, now)).min()
}

/// Whether the node of such a pod is not heard of.
pub(crate) fn is_unheard(status: &PodStatus) -> bool {
    unready(status).is_some_and(|ready| !is_gated(ready))
}

/// The condition.
fn unready(status: &PodStatus) -> Option<&PodCondition> {
    let containers = status.container_statuses.as_deref().filter(|all| !all.is_empty())?;
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    (ready.status == "False" && containers.iter().all(|container| container.ready)).then_some(ready)
}

fn is_gated(ready: &PodCondition) -> bool {
    ready.reason.as_deref() == Some(GATED)
}

/// Of the patience; a gate that was never opened was shut when the pod came.
fn left(ready: &PodCondition, now: Timestamp) -> Option<Duration> {
    let since = ready.last_transition_time.as_ref()?;
    let age: Duration = now.duration_since(since.0).try_into().unwrap_or_default();
    GATE_PATIENCE.checked_sub(age).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inference_deployment::cached::CachedPod;
    use crate::inference_deployment::store::Shown;

    /// With what the cache keeps of it.
    fn pod(is_ready: bool, reason: Value) -> Pod {
        let condition = json!({
            "type": "Ready", "status": "False", "reason": reason, "message": "gate \"a.b/c\" does not exist",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let container =
            json!({ "name": "ostro", "image": "i", "imageID": "", "ready": is_ready, "restartCount": 0 });
        let status = json!({
            "conditions": [condition], "containerStatuses": [container], "startTime": "2026-01-01T00:00:00Z",
        });
        let spec = json!({ "nodeName": "n-1", "containers": [] });
        let owner = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "m", "uid": "s", "controller": true });
        let labels = json!({ "app.kubernetes.io/instance": "m" });
        let metadata = json!({ "name": "m-1", "labels": labels, "ownerReferences": [owner] });
        let pod = json!({ "metadata": metadata, "spec": spec, "status": status });
        serde_json::from_value::<CachedPod>(pod).unwrap().kept().pod()
    }

    fn after(seconds: u8) -> Timestamp {
        format!("2026-01-01T00:01:{seconds:02}Z").parse().unwrap()
    }

    #[test]
    fn a_gate_that_stays_shut_is_told_after_a_while() {
        let pod = pod(true, GATED.into());
        let early: Timestamp = "2026-01-01T00:00:20Z".parse().unwrap();
        assert_eq!((withheld(&pod, early), due(&[&pod], early)), (None, Some(Duration::from_secs(40))));
        let cause = withheld(&pod, after(0)).unwrap();
        assert_eq!((cause.reason, due(&[&pod], after(0))), (Reason::ReadinessGated, None));
        assert!(
            cause.message.contains("m-1 is not ready: gate \"a.b/c\" does not exist; see"),
            "{}",
            cause.message
        );
    }

    #[test]
    fn a_node_that_is_not_heard_of_is_told_at_once() {
        let cause = withheld(&pod(true, Value::Null), after(0)).unwrap();
        assert_eq!(cause.reason, Reason::NodeSilent);
        assert!(cause.message.contains("the node n-1 tells nothing of the pod m-1"), "{}", cause.message);
    }

    #[test]
    fn containers_that_are_not_ready_are_no_news() {
        assert_eq!(withheld(&pod(false, "ContainersNotReady".into()), after(0)), None);
        assert_eq!(withheld(&Pod::default(), after(0)), None);
    }
}
