//! The kinds of what the operator makes: what is done with each, and how its objects are found.

use kube::api::{ApiResource, GroupVersionKind};

use super::build::{ChildKind, MANAGED_BY};

/// Of revisions that Kubernetes keeps of a StatefulSet, beside the labels of its template; the operator's have no such
/// label.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";

impl ChildKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::ServiceAccount,
        Self::ControllerRevision,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Deployment,
        Self::StatefulSet,
        Self::Job,
    ];

    /// Those that make pods; an object has one of them.
    pub(crate) const WORKLOADS: [Self; 2] = [Self::Deployment, Self::StatefulSet];

    pub(crate) fn makes_pods(self) -> bool {
        Self::WORKLOADS.contains(&self) || self == Self::Job
    }

    /// What makes pods, and what tells which ones: without pods there is neither.
    pub(crate) fn is_of_pods(self) -> bool {
        Self::WORKLOADS.contains(&self) || self == Self::ControllerRevision
    }

    /// Those whose API a cluster may lack.
    pub(crate) const OPTIONAL: [Self; 2] = [Self::ServiceMonitor, Self::PodMonitor];

    pub(crate) fn group_and_plural(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "serviceaccounts"),
            Self::ControllerRevision => ("apps", "controllerrevisions"),
            Self::ConfigMap => ("", "configmaps"),
            Self::PersistentVolumeClaim => ("", "persistentvolumeclaims"),
            Self::Service => ("", "services"),
            Self::NetworkPolicy => ("networking.k8s.io", "networkpolicies"),
            Self::PodDisruptionBudget => ("policy", "poddisruptionbudgets"),
            Self::Deployment => ("apps", "deployments"),
            Self::StatefulSet => ("apps", "statefulsets"),
            Self::Job => ("batch", "jobs"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "servicemonitors"),
            Self::PodMonitor => ("monitoring.coreos.com", "podmonitors"),
        }
    }

    /// By which its objects are found.
    pub(crate) fn selector(self) -> String {
        match self {
            Self::ControllerRevision => format!("{},!{REVISION_HASH}", ours()),
            _ => ours(),
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        let (group, plural) = self.group_and_plural();
        let kind = format!("{self:?}");
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", &kind), plural)
    }
}

/// Of what the operator makes, and of what is made of that.
pub(super) fn ours() -> String {
    format!("{MANAGED_BY}=ostro-operator")
}
