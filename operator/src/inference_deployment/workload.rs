//! What makes an object's pods: a Deployment, or a StatefulSet where each replica has a cache of its own; before them, a
//! Job. Here is what a status needs of any; all have it in the same fields.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeployment;
use serde::Deserialize;

use super::build::{COMPLETE, ChildKind, FAILED};
use super::children::Children;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Workload {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: WorkloadSpec,
    pub(crate) status: Option<WorkloadStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WorkloadSpec {
    pub(crate) replicas: Option<i32>,
    pub(crate) template: PodTemplateSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WorkloadStatus {
    pub(crate) observed_generation: Option<i64>,
    /// All there are, old ones too.
    pub(crate) replicas: i32,
    pub(crate) ready_replicas: i32,
    pub(crate) updated_replicas: i32,
    /// A StatefulSet's controller writes none.
    pub(crate) conditions: Vec<WorkloadCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WorkloadCondition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) message: String,
}

impl Workload {
    /// Of this kind; of either where it is not known which one the object has, as while its spec is wrong.
    pub(crate) fn find(
        children: &Children,
        owner: &InferenceDeployment,
        kind: Option<ChildKind>,
    ) -> Option<Workload> {
        let kinds = ChildKind::WORKLOADS.into_iter().filter(|of| kind.is_none_or(|kind| kind == *of));
        let namespace = owner.namespace().unwrap_or_default();
        let mut found = kinds.filter_map(|kind| {
            let kept = children.get(kind, &namespace, &owner.name_any())?;
            if kept.is_own(owner) { kept.typed() } else { None }
        });
        found.next()
    }

    pub(crate) fn uid(&self) -> Option<String> {
        self.metadata.uid.clone()
    }

    /// Whether a Job has done its work.
    pub(crate) fn is_done(&self) -> bool {
        self.holds(COMPLETE).is_some()
    }

    /// Why a Job has ended without.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.holds(FAILED).map(|condition| condition.message.as_str())
    }

    fn holds(&self, kind: &str) -> Option<&WorkloadCondition> {
        let mut conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.find(|condition| condition.kind == kind && condition.status == "True")
    }

    /// Every wanted replica is ready and of the latest template, and no other is left.
    pub(crate) fn is_ready(&self) -> bool {
        let status = self.status.clone().unwrap_or_default();
        let wanted = self.spec.replicas.unwrap_or(1);
        let is_current = status.observed_generation == self.metadata.generation;
        let counts = [status.replicas, status.ready_replicas, status.updated_replicas];
        is_current && counts.iter().all(|count| *count == wanted)
    }
}
