//! In to the daemon's port; out to DNS and HTTPS, or only DNS when nothing is downloaded.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use ostro_config::Loaded;
use ostro_crds::InferenceDeploymentSpec;

use super::names::Names;

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec, daemon: &Loaded) -> Option<NetworkPolicy> {
    let options = spec.network_policy.as_ref().filter(|options| options.enabled)?;
    let port = |protocol: &str, port: i32| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(port)),
        ..NetworkPolicyPort::default()
    };
    let egress = |ports| NetworkPolicyEgressRule { ports: Some(ports), ..NetworkPolicyEgressRule::default() };
    let served = i32::try_from(daemon.config.server.port.get()).unwrap_or_default();
    let out = match options.offline {
        true => Vec::new(),
        false => vec![egress(vec![port("UDP", 53), port("TCP", 53)]), egress(vec![port("TCP", 443)])],
    };
    Some(NetworkPolicy {
        metadata: ObjectMeta { name: Some(names.name.clone()), ..ObjectMeta::default() },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names.selector()),
                ..LabelSelector::default()
            }),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some(vec![port("TCP", served)]),
                ..NetworkPolicyIngressRule::default()
            }]),
            egress: Some(out),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        }),
    })
}
