//! The StatefulSet around pods that have a cache each, and the headless Service that it names them by.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeploymentSpec;

use super::names::Names;

/// Without claims, which are as they were kept.
pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec, pod: &PodTemplateSpec) -> StatefulSet {
    let selector = LabelSelector { match_labels: Some(names.selector()), ..LabelSelector::default() };
    let retain = || Some("Retain".to_owned());
    StatefulSet {
        metadata: ObjectMeta { name: Some(names.name.clone()), ..ObjectMeta::default() },
        spec: StatefulSetSpec {
            replicas: Some(spec.replicas.unwrap_or(1)),
            selector,
            service_name: Some(names.headless()),
            // Replicas do not wait for each other's downloads.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: retain(),
                when_scaled: retain(),
            }),
            revision_history_limit: Some(3),
            template: pod.clone(),
            ..StatefulSetSpec::default()
        },
        ..StatefulSet::default()
    }
}

/// Without ports: a ServiceMonitor selects it too, and would have the pods scraped twice.
pub(super) fn headless_service(names: &Names) -> Service {
    Service {
        metadata: ObjectMeta { name: Some(names.headless()), ..ObjectMeta::default() },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(names.selector()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
