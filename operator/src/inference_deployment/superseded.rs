//! Configurations of before. Pods of before read theirs again when their containers start again, so these stay for as
//! long as a rollout may still need them.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt;
use ostro_crds::InferenceDeployment;

use super::build::{ChildKind, Names, Prepared, Purpose, config_map_of, config_prefix};
use super::children::Children;
use super::workload::Workload;

/// Without pods that read them, more are not kept for a rollout that does not end.
const UNREAD_MAX: usize = 8;

/// Takes those that are still needed out of the orphans.
pub(super) fn spare(
    children: &Children,
    owner: &InferenceDeployment,
    prepared: &[Prepared],
    orphans: &mut Vec<(ChildKind, String)>,
) {
    let is_config = |(kind, _): &(ChildKind, String)| *kind == ChildKind::ConfigMap;
    if !orphans.iter().any(is_config) {
        return;
    }
    let current = prepared.iter().find(|one| one.kind == ChildKind::ConfigMap);
    let current = current.map(|one| one.object.name_any());
    let workload = Workload::find(children, owner, None);
    let is_over = workload.is_some_and(|workload| {
        workload.is_ready() && read_by(&workload.spec.template) == current.as_deref()
    });
    let pods = [children.pods_of(owner), children.pods_of_job(owner, Purpose::Prefetch)].concat();
    let prefix = config_prefix(&Names::of(owner));
    let mut unread = 0;
    orphans.retain(|orphan| {
        if !is_config(orphan) {
            return true;
        }
        if is_read(&orphan.1, &pods) {
            return false;
        }
        unread += 1;
        is_over || unread > UNREAD_MAX || !orphan.1.starts_with(&prefix)
    });
}

fn read_by(template: &PodTemplateSpec) -> Option<&str> {
    config_map_of(template.spec.as_ref()?)
}

fn is_read(config: &str, pods: &[Pod]) -> bool {
    pods.iter().any(|pod| pod.spec.as_ref().and_then(config_map_of) == Some(config))
}
