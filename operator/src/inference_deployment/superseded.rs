//! Configurations, the account and the ports of before. Pods of before read their configuration again when their
//! containers start again, none takes the place of one that goes without its account, and all serve where they listen; so
//! these stay for as long as a rollout may still need them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::ResourceExt;
use ostro_crds::InferenceDeployment;

use super::build::{ChildKind, Names, Prepared, Purpose, add_ports, config_map_of, config_prefix};
use super::children::Children;
use super::classify::has_ended;
use super::daemons::http_port;
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
    if !orphans.iter().any(|(kind, _)| [ChildKind::ConfigMap, ChildKind::ServiceAccount].contains(kind)) {
        return;
    }
    let current = prepared.iter().find(|one| one.kind == ChildKind::ConfigMap);
    let current = current.map(|one| one.object.name_any());
    let workload = Workload::find(children, owner, None);
    let ready = workload.as_ref().filter(|workload| workload.is_ready()).map(|ready| &ready.spec.template);
    let is_over = ready.is_some_and(|template| read_by(template) == current.as_deref());
    // Until all pods are of a template that names another one.
    let needs_account = |name: &str| ready.is_none_or(|template| account_of(template) == Some(name));
    let pods = [children.pods_of(owner), children.pods_of_job(owner, Purpose::Prefetch)].concat();
    let prefix = config_prefix(&Names::of(owner));
    let mut unread = 0;
    orphans.retain(|(kind, name)| match kind {
        ChildKind::ServiceAccount => !needs_account(name),
        ChildKind::ConfigMap if is_read(name, &pods) => false,
        ChildKind::ConfigMap => {
            unread += 1;
            is_over || unread > UNREAD_MAX || !name.starts_with(&prefix)
        }
        _ => true,
    });
}

/// Has the pods' policy let in where pods of before listen.
pub(super) fn let_in(children: &Children, owner: &InferenceDeployment, prepared: &mut [Prepared]) {
    let name = owner.name_any();
    let is_of_pods =
        |one: &&mut Prepared| one.kind == ChildKind::NetworkPolicy && one.object.name_any() == name;
    let Some(policy) = prepared.iter_mut().find(is_of_pods) else { return };
    let pods = children.pods_of(owner);
    let live = pods.iter().filter(|pod| !pod.status.as_ref().is_some_and(has_ended));
    let ports: BTreeSet<u16> = live.filter_map(http_port).collect();
    add_ports(policy, ports);
}

fn read_by(template: &PodTemplateSpec) -> Option<&str> {
    config_map_of(template.spec.as_ref()?)
}

fn account_of(template: &PodTemplateSpec) -> Option<&str> {
    template.spec.as_ref()?.service_account_name.as_deref()
}

fn is_read(config: &str, pods: &[Pod]) -> bool {
    pods.iter().any(|pod| pod.spec.as_ref().and_then(config_map_of) == Some(config))
}
