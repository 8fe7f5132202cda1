//! Pods none of whose containers was made yet: of what keeps them only events tell, or nothing at all.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use ostro_crds::Reason;

use super::scheduling::condition;
use super::{Cause, nodes};
use crate::inference_deployment::events;

/// Most pods start sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// A scheduler or kubelet that takes longer to look at a pod is not there.
const SILENCE: Duration = Duration::from_secs(10);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// After these the kubelet got on, whatever it complained of before.
const PROGRESS: [&str; 4] = ["Pulling", "Pulled", "Created", "Started"];
/// Of these the pod's own status tells.
const TOLD: [&str; 4] = ["FailedScheduling", "BackOff", "Failed", "Unhealthy"];
const OF_VOLUMES: [&str; 3] = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"];
const CLAIM_FAILED: &str = "FailedResourceClaimCreation";

/// A pod that waits to be begun, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stuck<'a> {
    pub(crate) pod: &'a Pod,
    age: Duration,
}

impl<'a> Stuck<'a> {
    /// The one that waits longest.
    pub(crate) fn find(pods: &[&'a Pod], now: Timestamp) -> Option<Stuck<'a>> {
        let waiting = pods.iter().filter(|pod| is_unbegun(pod));
        let age = |pod: &Pod| match &pod.metadata.creation_timestamp {
            Some(time) => now.duration_since(time.0).try_into().unwrap_or_default(),
            None => AGAIN_MAX,
        };
        waiting.map(|pod| Stuck { pod, age: age(pod) }).max_by_key(|stuck| stuck.age)
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.age >= PATIENCE
    }

    /// What stands in its way is told soon or never, and its events are not in a cache.
    pub(crate) fn again(&self) -> Duration {
        (self.age / 2).clamp(PATIENCE, AGAIN_MAX)
    }

    pub(crate) fn cause(&self, events: &[Event]) -> Option<Cause> {
        let warning = self.latest(events).filter(|event| event.type_.as_deref() == Some("Warning"));
        warning.and_then(of_event).or_else(|| self.of_silence())
    }

    /// In a second in which there were both, the complaint.
    fn latest<'e>(&self, events: &'e [Event]) -> Option<&'e Event> {
        let uid = self.pod.metadata.uid.as_deref();
        let own = events.iter().filter(|event| {
            event.regarding.as_ref().is_some_and(|regarding| regarding.uid.as_deref() == uid)
        });
        let is_warning = |event: &Event| event.type_.as_deref() == Some("Warning");
        let counts = |event: &&Event| {
            let reason = event.reason.as_deref().unwrap_or_default();
            PROGRESS.contains(&reason) || (is_warning(event) && !TOLD.contains(&reason))
        };
        let times = own.filter(counts).filter_map(|event| Some((events::time(event)?, event)));
        times.max_by_key(|(time, event)| (time.as_second(), is_warning(event))).map(|(_, event)| event)
    }

    fn of_silence(&self) -> Option<Cause> {
        let spec = self.pod.spec.as_ref().filter(|_| self.age >= SILENCE)?;
        let name = self.pod.name_any();
        if let Some(node) = &spec.node_name {
            let message = format!(
                "the node {node} does not take the pod {name}: is it there, and does its kubelet run?"
            );
            return Some(Cause { reason: Reason::NodeSilent, message });
        }
        if condition(self.pod).is_some() {
            return None;
        }
        let scheduler = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
        let message = format!("no scheduler has looked at the pod {name}: is there one named {scheduler}?");
        Some(Cause { reason: Reason::Unschedulable, message })
    }
}

fn is_unbegun(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    let waits = |status: &ContainerStatus| match &status.state {
        Some(state) => state.running.is_none() && state.terminated.is_none(),
        None => true,
    };
    let of = |statuses: &Option<Vec<ContainerStatus>>| statuses.iter().flatten().all(waits);
    let has_ended =
        |status: &ContainerStatus| status.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
    let is_begun = status.container_statuses.iter().flatten().any(has_ended);
    let init = status.init_container_statuses.iter().flatten();
    // A finished one has done its work; the daemon may wait for its volumes all the same.
    let init_runs = init.filter_map(|status| status.state.as_ref()).any(|state| state.running.is_some());
    !nodes::has_failed(pod) && of(&status.container_statuses) && !is_begun && !init_runs
}

fn of_event(event: &Event) -> Option<Cause> {
    let reason = event.reason.as_deref().unwrap_or_default();
    let note = event.note.as_deref().unwrap_or_default().trim().trim_end_matches('.');
    let (of, hint) = match reason {
        _ if OF_VOLUMES.contains(&reason) && note.contains("secret") && note.contains("not found") => {
            (Reason::SecretMissing, "; see spec.volumes and spec.podTemplatePatch")
        }
        _ if OF_VOLUMES.contains(&reason) => {
            (Reason::VolumeFailed, "; see spec.cache, spec.volumes and spec.podTemplatePatch")
        }
        CLAIM_FAILED => (Reason::Unschedulable, "; see spec.podTemplatePatch"),
        _ => (Reason::ContainerFailed, ""),
    };
    Some(Cause { reason: of, message: format!("{reason}: {note}{hint}") })
}

#[cfg(test)]
mod tests;
