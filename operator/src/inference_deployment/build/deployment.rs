//! The Deployment around the pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use ostro_crds::{InferenceDeploymentSpec, RolloutStrategy, is_zero};

use super::names::Names;
use super::template::startup_time;

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec, pod: &PodTemplateSpec) -> Deployment {
    let selector = LabelSelector { match_labels: Some(names.selector()), ..LabelSelector::default() };
    // A rollout is stuck only when pods had all the time that they may take to start.
    let deadline = startup_time(pod).map_or(0, |time| time.budget_seconds).saturating_add(600);
    Deployment {
        metadata: ObjectMeta { name: Some(names.name.clone()), ..ObjectMeta::default() },
        spec: DeploymentSpec {
            replicas: Some(spec.replicas.unwrap_or(1)),
            selector,
            strategy: Some(strategy(spec)),
            progress_deadline_seconds: Some(deadline),
            revision_history_limit: Some(3),
            template: pod.clone(),
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    }
}

/// Whether a rollout starts pods before those go that they replace.
pub(crate) fn needs_spare(spec: &InferenceDeploymentSpec) -> bool {
    let surge = strategy(spec).rolling_update.and_then(|update| update.max_surge);
    surge.is_some_and(|surge| !is_zero(&surge))
}

fn strategy(spec: &InferenceDeploymentSpec) -> DeploymentStrategy {
    let rollout = spec.rollout.clone().unwrap_or_default();
    match rollout.strategy {
        Some(RolloutStrategy::Recreate) => {
            DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }
        }
        Some(RolloutStrategy::RollingUpdate) | None => {
            let surge = rollout.max_surge.unwrap_or(IntOrString::Int(1));
            // Nobody loses a replica before its successor answers, where there is room for both.
            let unavailable = if is_zero(&surge) { 1 } else { 0 };
            let unavailable = rollout.max_unavailable.unwrap_or(IntOrString::Int(unavailable));
            DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(surge),
                    max_unavailable: Some(unavailable),
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_needs_a_spare_node_unless_old_pods_go_first() {
        let cases = [
            (json!(null), true),
            (json!({ "strategy": "RollingUpdate" }), true),
            (json!({ "maxSurge": "25%" }), true),
            (json!({ "maxSurge": 0, "maxUnavailable": 1 }), false),
            (json!({ "maxSurge": "0%", "maxUnavailable": 1 }), false),
            (json!({ "maxSurge": 0 }), false),
            (json!({ "strategy": "Recreate" }), false),
        ];
        for (rollout, expected) in cases {
            let spec = json!({ "models": [{ "modelId": "a/b" }], "rollout": rollout });
            let spec: InferenceDeploymentSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(needs_spare(&spec), expected, "{rollout}");
        }
    }
}
