//! What others must know of a pod template: it decides, not the spec, which may have changed since.

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};

use super::pod::CONTAINER;

/// The daemon's.
fn container(pod: &PodTemplateSpec) -> Option<&Container> {
    pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)
}

pub(crate) fn image(pod: &PodTemplateSpec) -> Option<&str> {
    container(pod)?.image.as_deref()
}

/// How long a container may take to start before the kubelet ends it.
pub(crate) fn startup_budget_seconds(pod: &PodTemplateSpec) -> i32 {
    let Some(startup) = container(pod).and_then(|container| container.startup_probe.as_ref()) else {
        return 0;
    };
    // As Kubernetes has them when they are absent.
    startup.period_seconds.unwrap_or(10).saturating_mul(startup.failure_threshold.unwrap_or(3))
}

pub(super) fn served_ports(pod: &PodTemplateSpec) -> impl Iterator<Item = i32> {
    container(pod)
        .into_iter()
        .flat_map(|container| &container.ports)
        .flatten()
        .map(|port| port.container_port)
}
