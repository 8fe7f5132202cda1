//! What the cache keeps of an object's pod: its status, the daemon's port and configuration, the cache's claim, and who
//! has yet to take it, or tells nothing of it any more.
//! Of other pods it keeps that they are there.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, ContainerStatus, EphemeralVolumeSource, Lifecycle, LifecycleHandler,
    Pod, PodCondition, PodSpec, PodStatus, Volume,
};
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::sent::SentMetadata;
use super::short;
use super::text::{Packer, Text};
use crate::inference_deployment::build::{
    CACHE_VOLUME, CONFIG_VOLUME, CONTAINER, Purpose, TEMPLATE_HASH_ANNOTATION, instance_of, job_prefix,
};
use crate::inference_deployment::classify::{ended_at, has_ended, is_sidecar, is_unheard};
use crate::inference_deployment::store::Shown;

const TEMPLATE_HASH: &str = "pod-template-hash";
/// Of a spec with its status: several times what the operator's templates and what is injected lead to.
const POD_BYTES_MAX: usize = 256 << 10;
/// Claims, sidecars and the like: as types they take some KiB each, and anybody may write thousands into a pod.
const ITEMS_MAX: usize = 64;
/// That are read.
const CONDITIONS: [&str; 3] = ["ContainersReady", "PodScheduled", "Ready"];

/// As the API server sends it. Anybody may label a pod as the operator's, and write into it what cannot be read.
#[derive(Deserialize)]
struct Sent {
    metadata: SentMetadata,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

/// A pod of an object, as a watch shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Sent")]
pub(crate) struct CachedPod {
    metadata: ObjectMeta,
    kept: Arc<KeptPod>,
}

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct KeptPod {
    /// The object that its labels name, and whose workload or Job has made it.
    instance: Option<Box<str>>,
    task: Option<Task>,
    ended_at: Option<Timestamp>,
    text: Text,
}

/// What an object has a pod for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Serve,
    Job(Purpose),
}

impl From<Sent> for CachedPod {
    fn from(Sent { metadata, spec, status }: Sent) -> Self {
        let metadata: ObjectMeta = metadata.into();
        let bytes: usize = [&spec, &status].into_iter().flatten().map(|json| json.get().len()).sum();
        let is_ours = made_for(&metadata).is_some();
        if is_ours && bytes > POD_BYTES_MAX {
            let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            tracing::warn!(
                namespace,
                name,
                bytes,
                "a pod is too large to be read: it is counted for no object"
            );
        }
        let ours = (is_ours && bytes <= POD_BYTES_MAX).then(|| (read(spec), read(status)));
        let kept = match ours {
            Some((Ok(spec), Ok(status))) => KeptPod::of(Pod { metadata: metadata.clone(), spec, status }),
            _ => KeptPod { instance: None, task: None, ended_at: None, text: String::new().into() },
        };
        CachedPod { metadata: short(&metadata), kept: Arc::new(kept) }
    }
}

fn read<T: DeserializeOwned>(json: Option<Box<RawValue>>) -> serde_json::Result<Option<T>> {
    json.map(|json| serde_json::from_str(json.get())).transpose()
}

impl KeptPod {
    fn of(pod: Pod) -> KeptPod {
        let (instance, task) = made_for(&pod.metadata).unzip();
        let instance = instance.map(Box::from);
        let ObjectMeta { name, uid, creation_timestamp, deletion_timestamp, .. } = pod.metadata.clone();
        let annotations = pod.metadata.annotations.clone().map(|mut annotations| {
            annotations.retain(|key, _| key == TEMPLATE_HASH_ANNOTATION);
            annotations
        });
        let rest = Pod {
            metadata: ObjectMeta {
                name,
                uid,
                creation_timestamp,
                deletion_timestamp,
                annotations: annotations.filter(|annotations| !annotations.is_empty()),
                ..ObjectMeta::default()
            },
            spec: pod.spec.map(|of| spec(of, pod.status.as_ref())),
            status: pod.status.map(status),
        };
        let text = serde_json::to_string(&rest).expect("it came as JSON").into();
        KeptPod { instance, task, ended_at: ended_at(&rest), text }
    }
}

impl CachedPod {
    pub(crate) fn instance(&self) -> Option<&str> {
        self.kept.instance()
    }
}

impl Shown for CachedPod {
    type Kept = KeptPod;

    fn pack(&mut self, packer: &mut Packer) {
        if let Some(kept) = Arc::get_mut(&mut self.kept) {
            packer.pack(&mut kept.text);
        }
    }

    fn kept(&self) -> Arc<KeptPod> {
        self.kept.clone()
    }
}

impl KeptPod {
    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    pub(crate) fn task(&self) -> Option<Task> {
        self.task
    }

    /// Of one that has ended.
    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// With what `classify` and `daemons` read of it.
    pub(crate) fn pod(&self) -> Pod {
        self.text.parse().expect("it was written here")
    }
}

/// The object that a pod is of, and what for. Anybody may give a pod the labels of another; the controllers give them a
/// name.
pub(crate) fn made_for(metadata: &ObjectMeta) -> Option<(&str, Task)> {
    let labels = metadata.labels.as_ref()?;
    let instance = instance_of(labels)?;
    let mut owners = metadata.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true))?;
    let (is_made, task) = match controller.kind.as_str() {
        "ReplicaSet" => {
            let hash = labels.get(TEMPLATE_HASH)?;
            (controller.name.strip_prefix(instance)?.strip_prefix('-')? == hash, Task::Serve)
        }
        "StatefulSet" => (controller.name == instance, Task::Serve),
        "Job" => {
            let is_of = |purpose: &Purpose| controller.name.starts_with(&job_prefix(instance, *purpose));
            (true, Task::Job(Purpose::ALL.into_iter().find(is_of)?))
        }
        _ => return None,
    };
    is_made.then_some((instance, task))
}

fn first<T>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    items.into_iter().take(ITEMS_MAX)
}

/// Its node, scheduler and all of its claims only until a kubelet has taken the pod; its node again when that is silent.
fn spec(spec: PodSpec, status: Option<&PodStatus>) -> PodSpec {
    let is_taken = status.is_some_and(|status| status.start_time.is_some());
    let node_name = spec.node_name.filter(|_| !is_taken || status.is_some_and(is_unheard));
    let scheduler_name = spec.scheduler_name.filter(|_| !is_taken && node_name.is_none());
    let daemons = spec.containers.into_iter().filter(|container| container.name == CONTAINER);
    let containers = daemons.map(daemon);
    let config = spec.volumes.iter().flatten().find(|volume| volume.name == CONFIG_VOLUME).map(config_name);
    let is_claim = |volume: &Volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
    let claims = spec.volumes.into_iter().flatten().filter(is_claim);
    let claims = claims.filter(|volume| !is_taken || volume.name == CACHE_VOLUME);
    let volumes: Vec<Volume> = first(claims).map(claim).chain(config).collect();
    let init = spec.init_containers.into_iter().flatten();
    let sidecars: Vec<Container> = first(init.filter(is_sidecar)).map(sidecar).collect();
    let resource_claims = spec.resource_claims.filter(|_| scheduler_name.is_some());
    PodSpec {
        containers: containers.collect(),
        init_containers: (!sidecars.is_empty()).then_some(sidecars),
        volumes: (!volumes.is_empty()).then_some(volumes),
        resource_claims: resource_claims.map(|claims| first(claims).collect()),
        node_name,
        scheduler_name,
        ..PodSpec::default()
    }
}

/// That it has a hook is told, and not which.
fn daemon(Container { name, ports, lifecycle, .. }: Container) -> Container {
    let post_start = lifecycle.and_then(|lifecycle| lifecycle.post_start);
    let lifecycle = post_start
        .map(|_| Lifecycle { post_start: Some(LifecycleHandler::default()), ..Lifecycle::default() });
    let ports = ports.map(|ports| first(ports).collect());
    Container { name, ports, lifecycle, ..Container::default() }
}

/// Its template, as an ephemeral one has, is not read.
fn claim(Volume { name, persistent_volume_claim, ephemeral, .. }: Volume) -> Volume {
    let ephemeral = ephemeral.map(|_| EphemeralVolumeSource::default());
    Volume { name, persistent_volume_claim, ephemeral, ..Volume::default() }
}

fn config_name(volume: &Volume) -> Volume {
    let name = volume.config_map.as_ref().map(|source| source.name.clone()).unwrap_or_default();
    let source = ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() };
    Volume { name: volume.name.clone(), config_map: Some(source), ..Volume::default() }
}

fn sidecar(Container { name, restart_policy, .. }: Container) -> Container {
    Container { name, restart_policy, ..Container::default() }
}

fn status(status: PodStatus) -> PodStatus {
    let has_ended = has_ended(&status);
    let PodStatus {
        conditions,
        init_container_statuses,
        container_statuses,
        phase,
        reason,
        message,
        start_time,
        pod_ip,
        ..
    } = status;
    let is_read = |condition: &PodCondition| CONDITIONS.contains(&condition.type_.as_str());
    let containers = |all: Vec<ContainerStatus>| first(all).map(container_status).collect();
    PodStatus {
        conditions: conditions.map(|all| first(all.into_iter().filter(is_read)).collect()),
        init_container_statuses: init_container_statuses.map(containers),
        container_statuses: container_statuses.map(containers),
        phase: phase.filter(|_| has_ended),
        reason: reason.filter(|_| has_ended),
        message: message.filter(|_| has_ended),
        start_time: start_time.filter(|_| has_ended),
        pod_ip,
        ..PodStatus::default()
    }
}

fn container_status(status: ContainerStatus) -> ContainerStatus {
    let ContainerStatus { name, container_id, image, ready, started, state, last_state, .. } = status;
    ContainerStatus {
        name,
        container_id,
        image,
        ready,
        started,
        state,
        last_state,
        ..ContainerStatus::default()
    }
}

resource_as!(CachedPod, Pod);

#[cfg(test)]
mod tests;
