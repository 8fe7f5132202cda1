//! Pods that a node ended, or never took.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use ostro_crds::Reason;

use super::Cause;
use crate::inference_deployment::daemons::is_ready;

/// A pod's end is told for this long, unless its successor gets ready: failed pods stay where they are for days.
pub(super) const TOLD_FOR: Duration = Duration::from_secs(120);

pub(super) fn has_failed(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed")
}

/// When a pod failed that is to stay: where no container ran, when its node took it, or it came.
pub(crate) fn failed_at(pod: &Pod) -> Option<Timestamp> {
    let is_going = pod.metadata.deletion_timestamp.is_some();
    let status = pod.status.as_ref().filter(|_| has_failed(pod) && !is_going)?;
    let statuses = status.container_statuses.iter().flatten();
    let ended =
        statuses.filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let ended = ended.max().or(status.start_time.as_ref());
    ended.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// The pod that failed last, and how long that is still told.
fn latest<'a>(pods: &[&'a Pod], now: Timestamp) -> Option<(&'a Pod, Duration)> {
    let failed = pods.iter().filter_map(|pod| Some((*pod, failed_at(pod)?)));
    let (pod, time) = failed.max_by_key(|(_, time)| *time)?;
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

/// The kubelet refused a pod, or ended it.
pub(super) fn failed(pods: &[&Pod], now: Timestamp) -> Option<Cause> {
    let (pod, _) = latest(pods, now)?;
    let status = pod.status.as_ref()?;
    let reason = status.reason.as_deref().unwrap_or("Failed");
    let words = status.message.as_deref().unwrap_or("its node said nothing more");
    // Without its name: its successors may fail one after the other.
    let message = format!("a node refused or ended a pod: {reason}: {words}");
    Some(Cause { reason: Reason::PodFailed, message })
}

/// When a failure is old.
pub(super) fn told_until(pods: &[&Pod], now: Timestamp) -> Option<Duration> {
    latest(pods, now).map(|(_, left)| left)
}
