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

/// How long a container may take to start before the kubelet ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartupTime {
    pub(crate) budget_seconds: i32,
    /// By up to so much it ends sooner: the kubelet's periods do not begin with the container.
    pub(crate) period_seconds: i32,
    /// By up to so much it ends later: who does not answer is asked again only when the probe has timed out.
    pub(crate) late_seconds: i32,
}

/// None without a startup probe.
pub(crate) fn startup_time(pod: &PodTemplateSpec) -> Option<StartupTime> {
    let probe = container(pod)?.startup_probe.as_ref()?;
    // As Kubernetes has them when they are absent.
    let period_seconds = probe.period_seconds.unwrap_or(10);
    let failures = probe.failure_threshold.unwrap_or(3);
    let late = probe.timeout_seconds.unwrap_or(1).saturating_sub(period_seconds).max(0);
    let delay = probe.initial_delay_seconds.unwrap_or(0);
    Some(StartupTime {
        budget_seconds: period_seconds.saturating_mul(failures).saturating_add(delay),
        period_seconds,
        late_seconds: late.saturating_mul(failures),
    })
}

pub(super) fn served_ports(pod: &PodTemplateSpec) -> impl Iterator<Item = i32> {
    container(pod)
        .into_iter()
        .flat_map(|container| &container.ports)
        .flatten()
        .map(|port| port.container_port)
}
