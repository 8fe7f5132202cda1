//! Pods that a node ended, or never took.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::api::events::v1::Event;
use ostro_crds::Reason;

use super::Cause;
use crate::inference_deployment::daemons::is_ready;
use crate::inference_deployment::events;

/// A pod's end is told for this long, unless its successor gets ready: pods that ended stay where they are for days.
pub(super) const TOLD_FOR: Duration = Duration::from_secs(120);

/// Of events: why a kubelet ended a pod.
const ENDS: [&str; 3] = ["Evicted", "ExceededGracePeriod", "Preempting"];

/// Its containers are not started again. A daemon that is told to stop ends well, so that a node which evicts it has no
/// failure to tell.
pub(crate) fn has_ended(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"))
}

/// When a pod ended that is to stay: where no container ran, when its node took it, or it came.
pub(crate) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let is_going = pod.metadata.deletion_timestamp.is_some();
    let status = pod.status.as_ref().filter(|status| has_ended(status) && !is_going)?;
    let statuses = status.container_statuses.iter().flatten();
    let ended =
        statuses.filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let ended = ended.max().or(status.start_time.as_ref());
    ended.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// The pod that ended last, and how long that is still told.
fn latest<'a>(pods: &[&'a Pod], now: Timestamp) -> Option<(&'a Pod, Duration)> {
    let ended = pods.iter().filter_map(|pod| Some((*pod, ended_at(pod)?)));
    let (pod, time) = ended.max_by_key(|(_, time)| *time)?;
    let is_later = |pod: &Pod| {
        pod.metadata
            .creation_timestamp
            .as_ref()
            .is_some_and(|created| created.0.as_second() >= time.as_second())
    };
    // One that came in its place is ready: what is waited for now is another.
    if pods.iter().any(|pod| is_later(pod) && is_ready(pod)) {
        return None;
    }
    let age: Duration = now.duration_since(time).try_into().unwrap_or_default();
    Some((pod, TOLD_FOR.checked_sub(age)?))
}

/// A pod whose end is told, and of whose end only events say why.
pub(crate) fn ended_quietly<'a>(pods: &[&'a Pod], now: Timestamp) -> Option<&'a Pod> {
    let (pod, _) = latest(pods, now)?;
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).filter(|phase| *phase == "Succeeded")?;
    Some(pod)
}

/// With what the pod's events say, where one tells who ended it.
pub(crate) fn with_end(cause: Cause, events: &[Event]) -> Cause {
    let ends = events.iter().filter(|event| ENDS.contains(&event.reason.as_deref().unwrap_or_default()));
    let Some(event) = ends.max_by_key(|event| events::time(event)) else { return cause };
    let (reason, note) = (event.reason.as_deref(), event.note.as_deref());
    let message =
        format!("a node ended a pod: {}: {}", reason.unwrap_or_default(), note.unwrap_or_default().trim());
    Cause { message, ..cause }
}

/// The kubelet refused a pod, or ended it.
pub(super) fn ended(pods: &[&Pod], now: Timestamp) -> Option<Cause> {
    let (pod, _) = latest(pods, now)?;
    let status = pod.status.as_ref()?;
    // Without its name: its successors may end one after the other.
    let message = match status.phase.as_deref() {
        Some("Succeeded") => {
            "a node ended a pod that stopped as it was told: see kubectl get events".to_owned()
        }
        _ => {
            let reason = status.reason.as_deref().unwrap_or("Failed");
            let words = status.message.as_deref().unwrap_or("its node said nothing more");
            format!("a node refused or ended a pod: {reason}: {words}")
        }
    };
    Some(Cause { reason: Reason::PodFailed, message })
}

/// When an end is old.
pub(super) fn told_until(pods: &[&Pod], now: Timestamp) -> Option<Duration> {
    latest(pods, now).map(|(_, left)| left)
}
