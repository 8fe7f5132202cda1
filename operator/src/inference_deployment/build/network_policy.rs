//! In to the daemon's port; out to DNS and HTTPS, or to nothing where nothing is downloaded. For the pods that prune a
//! cache, nothing at all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeploymentSpec;
use serde_json::{Value, json};

use super::job::Purpose;
use super::names::{Names, job_selector};
use super::template::served_ports;
use super::{Prepared, mark};

/// Of pods that serve, or that download for those.
pub(super) fn build(
    (name, pods): (String, BTreeMap<String, String>),
    spec: &InferenceDeploymentSpec,
    pod: &PodTemplateSpec,
) -> Option<NetworkPolicy> {
    let options = spec.network_policy.as_ref().filter(|options| options.enabled)?;
    let port = |protocol: &str, port: i32| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port)),
        ..NetworkPolicyPort::default()
    };
    let egress = |ports| NetworkPolicyEgressRule { ports: Some(ports), ..NetworkPolicyEgressRule::default() };
    let out = match options.offline {
        true => Vec::new(),
        false => vec![egress(vec![port("UDP", 53), port("TCP", 53)]), egress(vec![port("TCP", 443)])],
    };
    let ports: Vec<NetworkPolicyPort> = served_ports(pod).map(|served| port("TCP", served)).collect();
    // A rule without ports would allow all of them.
    let ingress = match ports.is_empty() {
        true => Vec::new(),
        false => {
            vec![NetworkPolicyIngressRule { ports: Some(ports), ..NetworkPolicyIngressRule::default() }]
        }
    };
    Some(policy(name, pods, (ingress, out)))
}

/// Of pods that prune, which read and delete files only.
pub(super) fn of_pruning(names: &Names, spec: &InferenceDeploymentSpec) -> Option<NetworkPolicy> {
    let is_wanted = spec.prunes() && spec.network_policy.as_ref().is_some_and(|options| options.enabled);
    let selector = job_selector(&names.name, Purpose::Prune);
    is_wanted.then(|| policy(names.pruning(), selector, (Vec::new(), Vec::new())))
}

/// Lets in at these ports too.
pub(crate) fn add_ports(policy: &mut Prepared, ports: impl IntoIterator<Item = u16>) {
    let ingress = &mut policy.object.data["spec"]["ingress"];
    let mut allowed = ingress[0]["ports"].as_array().cloned().unwrap_or_default();
    let ports = ports.into_iter().map(|port| json!({ "protocol": "TCP", "port": port }));
    let more: Vec<Value> = ports.filter(|port| !allowed.contains(port)).collect();
    if !more.is_empty() {
        allowed.extend(more);
        *ingress = json!([{ "ports": allowed }]);
        mark(&mut policy.object);
    }
}

fn policy(
    name: String,
    pods: BTreeMap<String, String>,
    (ingress, egress): (Vec<NetworkPolicyIngressRule>, Vec<NetworkPolicyEgressRule>),
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(pods), ..LabelSelector::default() }),
            ingress: Some(ingress),
            egress: Some(egress),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        }),
    }
}
