//! What others must know of a pod template: it decides, not the spec, which may have changed since.

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};

use kube::core::ObjectMeta;

use super::pod::CONTAINER;
use super::{content_hash, json};

/// Tells the pods of one template from those of others.
pub(crate) const TEMPLATE_HASH_ANNOTATION: &str = "inference.ostro.dev/template-hash";

pub(super) fn mark(template: &mut PodTemplateSpec) {
    let hash = content_hash(&json(template));
    let metadata = template.metadata.get_or_insert_default();
    metadata.annotations.get_or_insert_default().insert(TEMPLATE_HASH_ANNOTATION.to_owned(), hash);
}

/// Of a pod or a template; none of those that no operator has marked.
pub(crate) fn template_hash(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(TEMPLATE_HASH_ANNOTATION).map(String::as_str)
}

/// The daemon's.
pub(super) fn container(pod: &PodTemplateSpec) -> Option<&Container> {
    pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)
}

pub(crate) fn image(pod: &PodTemplateSpec) -> Option<&str> {
    container(pod)?.image.as_deref()
}

/// How long a container may take to start before the kubelet ends it; 0 where it has no startup probe.
pub(crate) fn startup_budget_seconds(pod: &PodTemplateSpec) -> i32 {
    let Some(startup) = container(pod).and_then(|container| container.startup_probe.as_ref()) else {
        return 0;
    };
    // As Kubernetes has them when they are absent.
    let asked = startup.period_seconds.unwrap_or(10).saturating_mul(startup.failure_threshold.unwrap_or(3));
    asked.saturating_add(startup.initial_delay_seconds.unwrap_or(0))
}

pub(super) fn served_ports(pod: &PodTemplateSpec) -> impl Iterator<Item = i32> {
    container(pod)
        .into_iter()
        .flat_map(|container| &container.ports)
        .flatten()
        .map(|port| port.container_port)
}
