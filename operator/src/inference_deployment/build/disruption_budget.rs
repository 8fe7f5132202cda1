//! How many pods a drain may take at once. One replica has no budget of its own accord: it would block the drain.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use ostro_crds::{DisruptionBudget, InferenceDeploymentSpec};

use super::names::Names;

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec) -> Option<PodDisruptionBudget> {
    let budget = match &spec.disruption_budget {
        Some(DisruptionBudget { min_available: None, max_unavailable: None }) | None => (spec
            .replicas
            .unwrap_or(1)
            > 1)
        .then_some(DisruptionBudget { max_unavailable: Some(IntOrString::Int(1)), min_available: None })?,
        Some(budget) => budget.clone(),
    };
    Some(PodDisruptionBudget {
        metadata: ObjectMeta { name: Some(names.name.clone()), ..ObjectMeta::default() },
        spec: Some(PodDisruptionBudgetSpec {
            min_available: budget.min_available,
            max_unavailable: budget.max_unavailable,
            selector: Some(LabelSelector {
                match_labels: Some(names.selector()),
                ..LabelSelector::default()
            }),
            // A pod that never became ready must not hold a node up.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        }),
        ..PodDisruptionBudget::default()
    })
}
