//! Why pods do not get ready: one cause with a stable reason and a hint, from what Kubernetes says of them. Pure.

mod containers;
mod models;
mod nodes;
mod pulling;
mod readiness;
mod scheduling;
mod stuck;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use ostro_crds::Reason;

use super::build::{CACHE_VOLUME, StartupTime};

pub(crate) use containers::is_sidecar;
pub(crate) use models::{failed_model, or_of_model};
pub(crate) use nodes::{ended_at, ended_quietly, has_ended, with_end};
pub(crate) use pulling::with_lacking_secret;
pub(crate) use readiness::is_unheard;
pub(crate) use stuck::Stuck;

/// What to do about a volume that others have.
const ONE_HOLDER: &str = "one node, or one pod, has this volume at a time: where replicas share it, set \
     spec.rollout.strategy Recreate, or spec.cache.volume.perReplica, or its accessMode ReadWriteMany";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What is known of an object's pods.
pub(crate) struct Signals<'a> {
    pub(crate) pods: &'a [&'a Pod],
    /// Why the API server lets no pods be made.
    pub(crate) refusal: Option<&'a str>,
    /// Of the pods' caches, those that are known.
    pub(crate) claims: &'a [PersistentVolumeClaim],
    /// None without a startup probe, as Jobs have none.
    pub(crate) startup: Option<StartupTime>,
    /// A rollout starts pods before those go that they replace.
    pub(crate) needs_spare: bool,
    /// Every wanted replica is ready.
    pub(crate) is_complete: bool,
    pub(crate) now: Timestamp,
}

impl<'a> Signals<'a> {
    /// Those that are to get ready, or to stay so.
    fn live(&self) -> impl Iterator<Item = &'a Pod> {
        let pods = self.pods.iter().copied();
        let has_ended = |pod: &Pod| pod.status.as_ref().is_some_and(has_ended);
        pods.filter(move |pod| pod.metadata.deletion_timestamp.is_none() && !has_ended(pod))
    }

    /// When the cause is to be looked for anew although nothing has changed.
    pub(crate) fn due(&self) -> Option<Duration> {
        let dues = [nodes::told_until(self.pods, self.now), readiness::due(self.pods, self.now)];
        dues.into_iter().flatten().min().filter(|_| !self.is_complete)
    }
}

/// The first cause, those closest to the pod's beginning first.
pub(crate) fn classify(signals: &Signals<'_>) -> Option<Cause> {
    let pods = || signals.live();
    let ended = || nodes::ended(signals.pods, signals.now).filter(|_| !signals.is_complete);
    signals
        .refusal
        .and_then(rejected)
        .or_else(|| pods().find_map(|pod| scheduling::unschedulable(pod, signals)))
        .or_else(|| pods().find_map(containers::waiting))
        .or_else(|| pods().find_map(|pod| containers::crashed(pod, signals.startup)))
        .or_else(|| pods().find_map(|pod| readiness::withheld(pod, signals.now)))
        .or_else(ended)
}

/// Of pods that are not begun again: how the last of them ended that failed.
pub(crate) fn last_crash(pods: &[&Pod]) -> Option<Cause> {
    let (pod, _) = pods.iter().filter_map(|pod| Some((pod, ended_at(pod)?))).max_by_key(|(_, time)| *time)?;
    containers::crashed(pod, None)
}

fn cause(reason: Reason, message: impl Into<String>) -> Option<Cause> {
    Some(Cause { reason, message: message.into() })
}

/// Of the kubelet's words about what a pod lacks.
fn names_secret(message: &str) -> bool {
    ["secret \"", "secret key", " in Secret "].iter().any(|words| message.contains(words))
}

/// The claim of a pod's cache, the replica's own or one that all share.
pub(crate) fn claim_name(pod: &Pod) -> Option<&str> {
    let mut volumes = pod.spec.as_ref()?.volumes.as_ref()?.iter();
    let cache = volumes.find(|volume| volume.name == CACHE_VOLUME)?;
    Some(&cache.persistent_volume_claim.as_ref()?.claim_name)
}

fn rejected(message: &str) -> Option<Cause> {
    if message.contains("exceeded quota") {
        return cause(
            Reason::QuotaExceeded,
            format!("{message}; ask for less in spec.resources, or for more quota"),
        );
    }
    let hint = match message.contains("RuntimeClass") && message.contains("not found") {
        true => "; see spec.runtimeClassName, and what the cluster has (kubectl get runtimeclass)",
        false => "",
    };
    cause(Reason::PodsRejected, format!("{message}{hint}"))
}

#[cfg(test)]
mod tests;
