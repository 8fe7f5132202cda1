//! What the cache keeps of a pod: whose it is, its status, the daemon's port and the cache's claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus, Volume};
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::short;
use super::text::{Packer, Text};
use crate::inference_deployment::build::{CACHE_VOLUME, CONTAINER, instance_of};
use crate::inference_deployment::store::Shown;

/// A pod of an object, as a watch shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Pod")]
pub(crate) struct CachedPod {
    metadata: ObjectMeta,
    kept: Arc<KeptPod>,
}

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct KeptPod {
    /// The object that its labels name.
    instance: Option<Box<str>>,
    text: Text,
}

impl From<Pod> for CachedPod {
    fn from(pod: Pod) -> Self {
        let instance = pod.metadata.labels.as_ref().and_then(instance_of).map(Box::from);
        let ObjectMeta { name, uid, deletion_timestamp, .. } = pod.metadata.clone();
        let rest = Pod {
            metadata: ObjectMeta { name, uid, deletion_timestamp, ..ObjectMeta::default() },
            spec: pod.spec.map(spec),
            status: pod.status.map(status),
        };
        let text = serde_json::to_string(&rest).expect("it came as JSON").into();
        CachedPod { metadata: short(&pod.metadata), kept: Arc::new(KeptPod { instance, text }) }
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

    /// With what `classify` and `daemons` read of it.
    pub(crate) fn pod(&self) -> Pod {
        self.text.parse().expect("it was written here")
    }
}

fn spec(spec: PodSpec) -> PodSpec {
    let daemons = spec.containers.into_iter().filter(|container| container.name == CONTAINER);
    let containers =
        daemons.map(|Container { name, ports, .. }| Container { name, ports, ..Container::default() });
    let claims = spec.volumes.into_iter().flatten().filter(|volume| volume.persistent_volume_claim.is_some());
    let claims: Vec<Volume> = claims.filter(|volume| volume.name == CACHE_VOLUME).collect();
    PodSpec {
        containers: containers.collect(),
        volumes: (!claims.is_empty()).then_some(claims),
        ..PodSpec::default()
    }
}

fn status(PodStatus { conditions, container_statuses, pod_ip, .. }: PodStatus) -> PodStatus {
    let is_read = |condition: &PodCondition| ["Ready", "PodScheduled"].contains(&condition.type_.as_str());
    let is_daemon = |status: &ContainerStatus| status.name == CONTAINER;
    PodStatus {
        conditions: conditions.map(|all| all.into_iter().filter(is_read).collect()),
        container_statuses: container_statuses
            .map(|all| all.into_iter().filter(is_daemon).map(container_status).collect()),
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
