//! Pods none of whose containers was made yet: of what keeps them only events tell, or nothing at all.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use ostro_crds::Reason;

use super::scheduling::condition;
use super::{Cause, ONE_HOLDER, cause, names_secret, nodes};
use crate::inference_deployment::events;

/// Most pods start sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// A kubelet that takes longer to look at a pod is not there. A node that a scheduler has chosen is, and may be busy.
const NAMED_NODE_SILENCE: Duration = Duration::from_secs(10);
const CHOSEN_NODE_SILENCE: Duration = Duration::from_secs(90);
/// So with a scheduler.
const SCHEDULER_SILENCE: Duration = Duration::from_secs(15);
/// While a volume is made for the node that it has chosen, which it waits for 600 s, a scheduler says nothing.
const VOLUME_SILENCE: Duration = Duration::from_secs(660);
/// Of pods that wait at once so many are asked for their events.
const ASKED_MAX: usize = 3;
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// After these the kubelet got on, whatever it complained of before.
const PROGRESS: [&str; 5] = ["SuccessfulAttachVolume", "Pulling", "Pulled", "Created", "Started"];
/// A pod that waits to be begun, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stuck<'a> {
    pub(crate) pod: &'a Pod,
    age: Duration,
}

impl<'a> Stuck<'a> {
    /// Those that wait longest.
    pub(crate) fn find(pods: &[&'a Pod], now: Timestamp) -> Vec<Stuck<'a>> {
        let waiting = pods.iter().filter(|pod| is_unbegun(pod));
        let mut stuck: Vec<_> = waiting.map(|pod| Stuck { pod, age: age(pod, now) }).collect();
        stuck.sort_by_key(|stuck| Reverse(stuck.age));
        stuck.truncate(ASKED_MAX);
        stuck
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.age >= PATIENCE
    }

    /// What stands in its way is told soon or never, and its events are not in a cache.
    pub(crate) fn again(&self) -> Duration {
        let silences = [NAMED_NODE_SILENCE, SCHEDULER_SILENCE, CHOSEN_NODE_SILENCE, VOLUME_SILENCE];
        let next =
            silences.into_iter().filter_map(|limit| limit.checked_sub(self.age)).find(|left| !left.is_zero());
        let often = (self.age / 2).clamp(PATIENCE, AGAIN_MAX);
        next.map_or(often, |next| often.min(next))
    }

    pub(crate) fn cause(&self, events: &[Event]) -> Option<Cause> {
        self.latest(events).and_then(of_event).or_else(|| self.of_silence())
    }

    /// In a second in which there were both, the complaint.
    fn latest<'e>(&self, events: &'e [Event]) -> Option<&'e Event> {
        let uid = self.pod.metadata.uid.as_deref();
        let own = events.iter().filter(|event| {
            event.regarding.as_ref().is_some_and(|regarding| regarding.uid.as_deref() == uid)
        });
        let is_progress = |event: &Event| PROGRESS.contains(&reason(event));
        let complains = |event: &Event| of_reason(reason(event)).is_some();
        let counts = own.filter(|event| complains(event) || is_progress(event));
        let times = counts.filter_map(|event| Some((events::time(event)?.as_second(), event)));
        let times: Vec<_> = times.collect();
        let (_, latest) = times.iter().max_by_key(|(second, event)| (*second, complains(event)))?;
        // Who has the volume is told once; then the kubelet complains again and again that it waits for it.
        let begun = times.iter().filter(|(_, event)| is_progress(event)).map(|(second, _)| *second).max();
        let held = times.iter().find(|(second, event)| is_held(event) && Some(*second) >= begun);
        let is_of_volume = of_reason(reason(latest)) == Some(Reason::VolumeFailed);
        held.filter(|_| is_of_volume).map(|(_, event)| *event).or(Some(latest))
    }

    /// Nobody who should take it says anything.
    fn of_silence(&self) -> Option<Cause> {
        let spec = self.pod.spec.as_ref()?;
        match &spec.node_name {
            Some(node) => self.of_silent_node(node),
            None => self.of_silent_scheduler(spec),
        }
    }

    fn of_silent_node(&self, node: &str) -> Option<Cause> {
        let limit = match condition(self.pod) {
            Some(_) => CHOSEN_NODE_SILENCE,
            None => NAMED_NODE_SILENCE,
        };
        let name = self.pod.name_any();
        let message =
            format!("the node {node} does not take the pod {name}: is it there, and does its kubelet run?");
        cause(Reason::NodeSilent, message).filter(|_| self.age >= limit)
    }

    fn of_silent_scheduler(&self, spec: &PodSpec) -> Option<Cause> {
        let mut volumes = spec.volumes.iter().flatten();
        let has_claims = volumes.any(|one| one.persistent_volume_claim.is_some() || one.ephemeral.is_some());
        let limit = if has_claims { VOLUME_SILENCE } else { SCHEDULER_SILENCE };
        if condition(self.pod).is_some() || self.age < limit {
            return None;
        }
        let name = self.pod.name_any();
        // Until a claim is there a scheduler says nothing either.
        let claim = spec.resource_claims.iter().flatten().find_map(|one| one.resource_claim_name.as_ref());
        let message = match claim {
            Some(claim) => {
                format!("the pod {name} waits to be scheduled: is its ResourceClaim {claim} there?")
            }
            None => {
                let scheduler = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
                format!("no scheduler has looked at the pod {name}: is there one named {scheduler}?")
            }
        };
        cause(Reason::Unschedulable, message)
    }
}

/// How long a pod is as it is: since it came, or was given its node.
fn age(pod: &Pod, now: Timestamp) -> Duration {
    let created = pod.metadata.creation_timestamp.as_ref();
    let scheduled = condition(pod).and_then(|condition| condition.last_transition_time.as_ref());
    match created.max(scheduled) {
        Some(time) => now.duration_since(time.0).try_into().unwrap_or_default(),
        None => AGAIN_MAX,
    }
}

fn is_unbegun(pod: &Pod) -> bool {
    if pod.metadata.deletion_timestamp.is_some() || pod.status.as_ref().is_some_and(nodes::has_ended) {
        return false;
    }
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
    of(&status.container_statuses) && !is_begun && !init_runs
}

fn reason(event: &Event) -> &str {
    event.reason.as_deref().unwrap_or_default()
}

/// Other events may warn of what stands in no pod's way.
fn of_reason(reason: &str) -> Option<Reason> {
    match reason {
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => Some(Reason::VolumeFailed),
        "FailedResourceClaimCreation" => Some(Reason::Unschedulable),
        "FailedCreatePodSandBox"
        | "NetworkNotReady"
        | "FailedPrepareDynamicResources"
        | "FailedPostStartHook" => Some(Reason::ContainerFailed),
        _ => None,
    }
}

/// Another node has the volume.
fn is_held(event: &Event) -> bool {
    event.note.as_deref().is_some_and(|note| note.contains("Multi-Attach"))
}

fn of_event(event: &Event) -> Option<Cause> {
    let note = event.note.as_deref().unwrap_or_default().trim().trim_end_matches('.');
    let (of, hint) = match of_reason(reason(event))? {
        Reason::VolumeFailed if names_secret(note) => {
            (Reason::SecretMissing, "see spec.volumes and spec.podTemplatePatch")
        }
        Reason::VolumeFailed if is_held(event) => (Reason::VolumeFailed, ONE_HOLDER),
        Reason::VolumeFailed => {
            (Reason::VolumeFailed, "see spec.cache, spec.volumes and spec.podTemplatePatch")
        }
        Reason::Unschedulable => (Reason::Unschedulable, "see spec.podTemplatePatch"),
        other => (other, ""),
    };
    let told = format!("{}: {note}", reason(event));
    cause(of, if hint.is_empty() { told } else { format!("{told}; {hint}") })
}

#[cfg(test)]
mod tests;
