//! Why pods do not get ready: one cause with a stable reason and a hint, from what Kubernetes says of them. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PersistentVolumeClaim, Pod};
use ostro_crds::Reason;

use super::build::{CACHE_VOLUME, CONFIG_DIR, CONTAINER, is_gpu};

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
    pub(crate) startup_budget_seconds: i64,
    /// A rollout starts pods before those go that they replace.
    pub(crate) needs_spare: bool,
}

/// The first cause, those closest to the pod's beginning first.
pub(crate) fn classify(signals: &Signals<'_>) -> Option<Cause> {
    let pods = || signals.pods.iter().copied();
    signals
        .refusal
        .and_then(rejected)
        .or_else(|| pods().find_map(|pod| unschedulable(pod, signals)))
        .or_else(|| pods().find_map(waiting))
        .or_else(|| pods().find_map(|pod| crashed(pod, signals.startup_budget_seconds)))
}

fn cause(reason: Reason, message: impl Into<String>) -> Option<Cause> {
    Some(Cause { reason, message: message.into() })
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

fn unschedulable(pod: &Pod, signals: &Signals<'_>) -> Option<Cause> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    if scheduled.status != "False" {
        return None;
    }
    let message = scheduled.message.clone().unwrap_or_default();
    if message.contains("PersistentVolumeClaim") || message.contains("persistentvolumeclaim") {
        let name = claim_name(pod);
        let claim = signals.claims.iter().find(|claim| claim.metadata.name.as_deref() == name);
        return cause(Reason::PvcUnbound, claim_hint(claim, &message));
    }
    let hint = gpu_hint(&message, signals);
    cause(
        Reason::Unschedulable,
        format!(
            "{message} {hint}Change spec.resources, nodeSelector, tolerations or affinity, or add nodes."
        ),
    )
}

/// For a GPU that no node has to give, by the scheduler's words `Insufficient nvidia.com/gpu`; else nothing.
fn gpu_hint(message: &str, signals: &Signals<'_>) -> String {
    let resources = message.split("Insufficient ").skip(1).filter_map(|rest| rest.split([',', ' ']).next());
    let Some(gpu) = resources.map(|name| name.trim_end_matches('.')).find(|name| is_gpu(name)) else {
        return String::new();
    };
    let rollout = match signals.needs_spare {
        true => "A rollout without a spare one needs spec.rollout.strategy Recreate. ",
        false => "",
    };
    format!(
        "No node has enough {gpu} left: does its device plugin run there, and do other pods hold it? {rollout}"
    )
}

fn claim_hint(claim: Option<&PersistentVolumeClaim>, message: &str) -> String {
    let Some(claim) = claim else { return message.to_owned() };
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    match class {
        Some(class) => format!(
            "the claim {name} is not bound: does the storage class {class:?} exist, and provision volumes?"
        ),
        None => format!(
            "the claim {name} is not bound: the cluster has no default storage class, or it provisions nothing"
        ),
    }
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

/// The kubelet cannot start the container.
fn waiting(pod: &Pod) -> Option<Cause> {
    let status = container(pod)?;
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.clone().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => {
            let hint = "is spec.image right, and do imagePullSecrets allow it?";
            cause(Reason::ImagePullFailed, format!("cannot pull {}: {message}; {hint}", status.image))
        }
        "CreateContainerConfigError" if message.contains("secret") => {
            cause(Reason::SecretMissing, format!("{message}; see spec.huggingFaceToken and spec.env"))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            cause(Reason::ContainerFailed, message)
        }
        _ => None,
    }
}

/// The daemon ended, and is started again.
fn crashed(pod: &Pod, startup_budget_seconds: i64) -> Option<Cause> {
    let status = container(pod)?;
    if status.ready {
        return None;
    }
    let terminated = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    let ended = terminated(&status.state).or_else(|| terminated(&status.last_state))?;
    if ended.reason.as_deref() == Some("OOMKilled") {
        return cause(
            Reason::HostOutOfMemory,
            "the daemon was killed for memory: raise spec.resources.limits.memory, or lower pagedAttn",
        );
    }
    let ran = match (&ended.started_at, &ended.finished_at) {
        (Some(started), Some(finished)) => finished.0.duration_since(started.0).as_secs(),
        _ => 0,
    };
    let is_killed = [137, 143].contains(&ended.exit_code) || ended.exit_code == 0;
    if is_killed && status.started != Some(true) && ran + 5 >= startup_budget_seconds {
        return cause(
            Reason::StartupBudgetExceeded,
            format!(
                "the models were not loaded within {startup_budget_seconds} s; raise spec.probes.startup.failureThreshold"
            ),
        );
    }
    let words = ended.message.unwrap_or_default();
    let last_error = last_error(&words);
    let (reason, hint) = reason_of(&last_error);
    cause(reason, format!("the daemon ended with code {}: {last_error}{hint}", ended.exit_code))
}

/// The daemon's own words; its tests hold them.
fn reason_of(error: &str) -> (Reason, &'static str) {
    let says = |words: &[&str]| words.iter().any(|words| error.contains(words));
    if says(&["is gated"]) {
        (Reason::HfGatedModel, "; is spec.huggingFaceToken of an account that accepted them?")
    } else if says(&["cannot reach the hub"]) {
        (Reason::HubUnreachable, "; may the pods reach it, or is the model in the cache?")
    } else if says(&["the hub refuses"]) {
        (Reason::HfUnauthorized, "; see spec.huggingFaceToken")
    } else if says(&[
        "the hub has no model",
        "does not exist",
        "neither a path nor a hub id",
        "has no file",
        "has no revision",
    ]) {
        (Reason::ModelNotFound, "; see spec.models")
    } else if says(&[CONFIG_DIR]) {
        (Reason::InvalidConfig, "")
    } else {
        (Reason::CrashLoop, "")
    }
}

/// The last line that tells of an error, else the last line.
fn last_error(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rev().find(|line| line.to_lowercase().contains("error"));
    let line = error.or(lines.last()).copied().unwrap_or("it said nothing");
    line.chars().take(500).collect()
}

#[cfg(test)]
mod tests;
