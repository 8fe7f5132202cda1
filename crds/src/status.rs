//! What the operator says of an object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceDeploymentStatus {
    /// The `metadata.generation` that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// By `type`: Ready, Available, Progressing, Degraded; Reconciling, Stalled and TemplateUpdatePending only while
    /// true; Monitored where `spec.monitoring` is set; CachePruned with `spec.cache.prune`, once pods are of the spec.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// A summary for people; programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Pods there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Ready and wanted pods, as in `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_ready: Option<String>,
    /// Of the pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Models that a ready pod has loaded, and wanted ones, as in `1/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models_ready: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelStatus>,
    /// Base URL for OpenAI clients inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl InferenceDeploymentStatus {
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind.as_str())
    }
}

/// One model, as the pods' daemons tell, or as their readiness does where they cannot be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    pub id: String,
    /// Pods that have it loaded.
    pub replicas_loaded: i32,
    /// The worst that a pod says of it: Failed, then Loading, then Loaded. Absent while none says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ModelState>,
    /// Why it failed, or what is done to load it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ModelState {
    Loading,
    Loaded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    Pending,
    Progressing,
    Ready,
    Degraded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    Ready,
    Available,
    Progressing,
    Degraded,
    Reconciling,
    Stalled,
    /// A Prometheus can find the pods.
    Monitored,
    /// Pods run what an earlier operator, or an earlier spec, wanted, until a person releases what is wanted now.
    TemplateUpdatePending,
    /// What pods do not need is gone from their cache.
    CachePruned,
}

impl ConditionType {
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::Available,
        Self::Progressing,
        Self::Degraded,
        Self::Reconciling,
        Self::Stalled,
        Self::Monitored,
        Self::TemplateUpdatePending,
        Self::CachePruned,
    ];

    /// Whether a condition of this type is the operator's to write.
    pub fn is_own(kind: &str) -> bool {
        Self::ALL.iter().any(|own| own.as_str() == kind)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            ConditionType::Ready => "Ready",
            ConditionType::Available => "Available",
            ConditionType::Progressing => "Progressing",
            ConditionType::Degraded => "Degraded",
            ConditionType::Reconciling => "Reconciling",
            ConditionType::Stalled => "Stalled",
            ConditionType::Monitored => "Monitored",
            ConditionType::TemplateUpdatePending => "TemplateUpdatePending",
            ConditionType::CachePruned => "CachePruned",
        }
    }
}

/// Stable reasons of conditions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All replicas are ready.
    AllReady,
    /// No replicas are wanted.
    ScaledToZero,
    /// Pods start, load or are replaced.
    RollingOut,
    /// A Job downloads the models of pods that are to start.
    Prefetching,
    /// Some replicas are ready, not all.
    SomeReady,
    NoneReady,
    /// The spec breaks a rule that the API server could not check.
    InvalidConfig,
    ImagePullFailed,
    Unschedulable,
    PvcUnbound,
    SecretMissing,
    HfUnauthorized,
    HfGatedModel,
    HubUnreachable,
    ModelNotFound,
    /// A model of several could not be loaded, for a reason of another kind.
    ModelFailed,
    HostOutOfMemory,
    StartupBudgetExceeded,
    CrashLoop,
    QuotaExceeded,
    /// The cluster's admission refuses the pods.
    PodsRejected,
    /// The kubelet cannot make a container.
    ContainerFailed,
    /// A volume cannot be mounted.
    VolumeFailed,
    /// A node refused or ended a pod.
    PodFailed,
    /// A node does not take a pod, or tells nothing of it any more.
    NodeSilent,
    /// A pod is ready but for a readiness gate.
    ReadinessGated,
    /// The API server refused an object.
    ApplyFailed,
    /// The ServiceMonitor or PodMonitor is there.
    MonitorApplied,
    /// The cluster has no API for an object that is wanted.
    ApiMissing,
    /// It may have, and the operator cannot use it.
    ApiUnavailable,
    /// This operator would make other pods of the same spec.
    OperatorUpgraded,
    /// The spec asks for other pods, and for holding them.
    SpecHeld,
    /// A Job removes from the cache what the spec does not need.
    Pruning,
    CachePruned,
    PruneFailed,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::AllReady => "AllReady",
            Reason::ScaledToZero => "ScaledToZero",
            Reason::RollingOut => "RollingOut",
            Reason::Prefetching => "Prefetching",
            Reason::SomeReady => "SomeReady",
            Reason::NoneReady => "NoneReady",
            Reason::InvalidConfig => "InvalidConfig",
            Reason::ImagePullFailed => "ImagePullFailed",
            Reason::Unschedulable => "Unschedulable",
            Reason::PvcUnbound => "PVCUnbound",
            Reason::SecretMissing => "SecretMissing",
            Reason::HfUnauthorized => "HFUnauthorized",
            Reason::HfGatedModel => "HFGatedModel",
            Reason::HubUnreachable => "HubUnreachable",
            Reason::ModelNotFound => "ModelNotFound",
            Reason::ModelFailed => "ModelFailed",
            Reason::HostOutOfMemory => "HostOutOfMemory",
            Reason::StartupBudgetExceeded => "StartupBudgetExceeded",
            Reason::CrashLoop => "CrashLoop",
            Reason::QuotaExceeded => "QuotaExceeded",
            Reason::PodsRejected => "PodsRejected",
            Reason::ContainerFailed => "ContainerFailed",
            Reason::VolumeFailed => "VolumeFailed",
            Reason::PodFailed => "PodFailed",
            Reason::NodeSilent => "NodeSilent",
            Reason::ReadinessGated => "ReadinessGated",
            Reason::ApplyFailed => "ApplyFailed",
            Reason::MonitorApplied => "MonitorApplied",
            Reason::ApiMissing => "APIMissing",
            Reason::ApiUnavailable => "APIUnavailable",
            Reason::OperatorUpgraded => "OperatorUpgraded",
            Reason::SpecHeld => "SpecHeld",
            Reason::Pruning => "Pruning",
            Reason::CachePruned => "CachePruned",
            Reason::PruneFailed => "PruneFailed",
        }
    }

    /// Nothing but a change by a person helps: of the object, of its token, or of what the hub has.
    pub fn is_stalling(self) -> bool {
        matches!(
            self,
            Reason::InvalidConfig | Reason::HfUnauthorized | Reason::HfGatedModel | Reason::ModelNotFound
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_of_conditions_are_known() {
        for (index, kind) in ConditionType::ALL.into_iter().enumerate() {
            // Who adds one is sent here.
            let expected = match kind {
                ConditionType::Ready => 0,
                ConditionType::Available => 1,
                ConditionType::Progressing => 2,
                ConditionType::Degraded => 3,
                ConditionType::Reconciling => 4,
                ConditionType::Stalled => 5,
                ConditionType::Monitored => 6,
                ConditionType::TemplateUpdatePending => 7,
                ConditionType::CachePruned => 8,
            };
            assert_eq!(index, expected);
        }
    }
}
