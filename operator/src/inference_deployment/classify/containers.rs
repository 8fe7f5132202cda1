//! What the kubelet says of a pod's containers.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition,
};
use kube::ResourceExt;
use ostro_crds::Reason;

use super::pulling::hint;
use super::{Cause, cause, names_secret};
use crate::inference_deployment::build::{CONFIG_DIR, CONTAINER, StartupTime};
use crate::shortened::shortened;

/// How a shell would tell of SIGKILL.
const KILLED: i32 = 137;
/// Of a line of what a container said at its end.
const ERROR_BYTES_MAX: usize = 1024;
/// From a startup probe's last failure to the end that follows: pods have 75 s for it, unless the spec says otherwise.
const STARTUP_END_SECONDS: i64 = 90;

/// A container, whose name is told unless it is the daemon.
struct Seen<'a> {
    status: &'a ContainerStatus,
    /// It ends when it has done its work.
    is_init: bool,
}

/// An init container that goes on running.
pub(crate) fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

impl Seen<'_> {
    fn is_daemon(&self) -> bool {
        self.status.name == CONTAINER && !self.is_init
    }

    fn name(&self) -> String {
        match (self.is_daemon(), self.is_init) {
            (true, _) => "the daemon".to_owned(),
            (_, true) => format!("the init container {}", self.status.name),
            _ => format!("the container {}", self.status.name),
        }
    }
}

/// In the order in which they start, the daemon before others that start with it.
fn containers(pod: &Pod) -> impl Iterator<Item = Seen<'_>> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    let main = || status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let main = move |is_daemon: bool| main().filter(move |status| (status.name == CONTAINER) == is_daemon);
    let sidecars =
        pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).filter(|one| is_sidecar(one));
    let sidecars: Vec<&str> = sidecars.map(|container| container.name.as_str()).collect();
    let init = init.map(move |status| Seen { status, is_init: !sidecars.contains(&status.name.as_str()) });
    init.chain(main(true).chain(main(false)).map(|status| Seen { status, is_init: false }))
}

/// The kubelet cannot start a container.
pub(super) fn waiting(pod: &Pod) -> Option<Cause> {
    containers(pod).find_map(|container| cannot_start(&container))
}

fn cannot_start(container: &Seen<'_>) -> Option<Cause> {
    let waiting = container.status.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.clone().unwrap_or_default();
    let of = |message: &str| match container.is_daemon() {
        true => message.to_owned(),
        false => format!("{}: {message}", container.name()),
    };
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => cause(Reason::ImagePullFailed, cannot_pull(container, &message)),
        "CreateContainerConfigError" if names_secret(&message) => {
            cause(Reason::SecretMissing, format!("{}; see spec.huggingFaceToken and spec.env", of(&message)))
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PostStartHookError" => cause(Reason::ContainerFailed, of(&message)),
        _ => None,
    }
}

/// Volumes can be images too, and of those the kubelet tells as of the container that has them.
fn cannot_pull(container: &Seen<'_>, message: &str) -> String {
    let image = &container.status.image;
    // While it waits to try again, the kubelet says what it said when it failed, and more.
    let message = message.split_once(": ErrImagePull: ").map_or(message, |(_, cause)| cause);
    if !message.is_empty() && !message.contains(image.as_str()) {
        let hint = hint(message, "the image that spec.image, cache.image or volumes name");
        return format!("cannot pull an image of {}: {message}; {hint}", container.name());
    }
    match container.is_daemon() {
        true => format!("cannot pull {image}: {message}; {}", hint(message, "spec.image")),
        false => format!("cannot pull {image} of {}: {message}; see spec.podTemplatePatch", container.name()),
    }
}

/// A container ended, and is started again.
pub(super) fn crashed(pod: &Pod, startup: Option<StartupTime>) -> Option<Cause> {
    containers(pod).find_map(|container| match container.is_daemon() {
        true => daemon_ended(pod, container.status, startup),
        false => other_ended(&container, &pod.name_any()),
    })
}

/// Of one that is not ready.
fn end(status: &ContainerStatus) -> Option<ContainerStateTerminated> {
    let terminated = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    terminated(&status.state).or_else(|| terminated(&status.last_state)).filter(|_| !status.ready)
}

/// The node could not begin it, in words that are not the container's.
fn never_started(ended: &ContainerStateTerminated) -> Option<Cause> {
    let is_node = ["StartError", "ContainerCannotRun"].contains(&ended.reason.as_deref()?);
    cause(Reason::ContainerFailed, ended.message.clone().unwrap_or_default()).filter(|_| is_node)
}

fn daemon_ended(pod: &Pod, status: &ContainerStatus, startup: Option<StartupTime>) -> Option<Cause> {
    // It has passed its startup probe since: what it lacks now has another cause.
    if startup.is_some() && status.started == Some(true) {
        return None;
    }
    let ended = end(status)?;
    if let Some(cause) = never_started(&ended) {
        return Some(cause);
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return cause(
            Reason::HostOutOfMemory,
            "the daemon was killed for memory: raise spec.resources.limits.memory, or lower pagedAttn",
        );
    }
    if let Some(cause) = startup.and_then(|startup| over_budget(pod, &ended, startup)) {
        return Some(cause);
    }
    if ended.exit_code == 0 {
        return stopped(pod);
    }
    if ended.exit_code == KILLED {
        return cause(
            Reason::CrashLoop,
            "the daemon was killed (SIGKILL): by somebody, by its node for memory of all pods together, or since it \
             did not end when it was told to",
        );
    }
    let words = ended.message.unwrap_or_default();
    let last_error = last_error(&words);
    let (reason, hint) = reason_of(&last_error);
    cause(reason, format!("the daemon ended with code {}: {last_error}{hint}", ended.exit_code))
}

/// Who is told to stop ends with 0. Why it was told, only an event says, for an hour.
fn stopped(pod: &Pod) -> Option<Cause> {
    let (reason, what) = match has_start_hook(pod) {
        true => (Reason::ContainerFailed, "postStart hook"),
        false => (Reason::CrashLoop, "liveness probe"),
    };
    let name = pod.name_any();
    cause(
        reason,
        format!("the daemon was told to stop: does its {what} fail? See kubectl describe pod {name}"),
    )
}

fn has_start_hook(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut hooks = containers.filter(|one| one.name == CONTAINER).filter_map(|one| one.lifecycle.as_ref());
    hooks.any(|lifecycle| lifecycle.post_start.is_some())
}

fn other_ended(container: &Seen<'_>, pod: &str) -> Option<Cause> {
    let ended = end(container.status).filter(|ended| !container.is_init || ended.exit_code != 0)?;
    if let Some(cause) = never_started(&ended) {
        return Some(Cause { message: format!("{}: {}", container.name(), cause.message), ..cause });
    }
    let (name, code) = (container.name(), ended.exit_code);
    if ended.reason.as_deref() == Some("OOMKilled") {
        let hint = "raise its limit in spec.podTemplatePatch";
        return cause(Reason::HostOutOfMemory, format!("{name} was killed for memory: {hint}"));
    }
    let error = last_error(ended.message.as_deref().unwrap_or_default());
    let logs = format!("kubectl logs {pod} -c {}", container.status.name);
    cause(Reason::CrashLoop, format!("{name} ended with code {code}: {error}; {logs}"))
}

/// By how long it ran, and that the pod's containers were never ready in that time: whether it had passed its startup
/// probe, nothing says of a container that has ended.
fn over_budget(pod: &Pod, ended: &ContainerStateTerminated, startup: StartupTime) -> Option<Cause> {
    let StartupTime { budget_seconds, period_seconds, late_seconds } = startup;
    let started = ended.started_at.as_ref()?.0;
    if turned_ready(pod).is_some_and(|turned| turned > started) {
        return None;
    }
    let ran = ended.finished_at.as_ref()?.0.duration_since(started).as_secs();
    let is_killed = [KILLED, 143].contains(&ended.exit_code) || ended.exit_code == 0;
    let [budget, period, late] = [budget_seconds, period_seconds, late_seconds].map(i64::from);
    // The times are of whole seconds.
    let ends = budget - period - 1..=budget + late + STARTUP_END_SECONDS;
    let message =
        format!("the models were not loaded within {budget} s; raise spec.probes.startup.failureThreshold");
    cause(Reason::StartupBudgetExceeded, message).filter(|_| is_killed && ends.contains(&ran))
}

/// When the pod or its containers last became ready, or were it no more. A pod is not ready while a gate is shut; of virtual
/// nodes some tell of the pod alone.
fn turned_ready(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let of_readiness = |one: &&PodCondition| ["ContainersReady", "Ready"].contains(&one.type_.as_str());
    let turned = conditions.iter().filter(of_readiness).filter_map(|one| one.last_transition_time.as_ref());
    turned.map(|time| time.0).max()
}

/// The daemon's own words; its tests hold them.
pub(super) fn reason_of(error: &str) -> (Reason, &'static str) {
    let says = |words: &[&str]| words.iter().any(|words| error.contains(words));
    if says(&["is gated"]) {
        (Reason::HfGatedModel, "; is spec.huggingFaceToken of an account that accepted them?")
    } else if says(&["cannot reach the hub"]) {
        (Reason::HubUnreachable, "; may the pods reach it, or is the model in the cache?")
    } else if says(&["the hub answers ", "the hub's answer for "]) {
        (Reason::HubUnreachable, "; is it well, and is HF_ENDPOINT in spec.env right, where that is set?")
    } else if says(&["the hub's address "]) {
        (Reason::InvalidConfig, "; see HF_ENDPOINT in spec.env")
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
    } else if says(&["MiB of memory are available"]) {
        (Reason::HostOutOfMemory, "; raise resources.limits.memory, or lower pagedAttn")
    } else if says(&["no space left for"]) {
        (
            Reason::CrashLoop,
            "; the cache is full: give it more room, as by cache.volume.size, or see cache.prune",
        )
    } else if says(&["Permission denied"]) {
        (Reason::CrashLoop, "; the daemon runs as user 65532: may it read and write there?")
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
    shortened(line, ERROR_BYTES_MAX).into_owned()
}
