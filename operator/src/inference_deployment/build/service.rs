//! The Service in front of the pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeploymentSpec;

use super::names::Names;

/// Of clients, unless the object says another.
const PORT: i32 = 80;

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec) -> Service {
    let options = spec.service.clone().unwrap_or_default();
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: options.port.unwrap_or(PORT),
        target_port: Some(IntOrString::String("http".to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some("http".to_owned()),
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(names.name.clone()),
            annotations: (!options.annotations.is_empty()).then_some(options.annotations),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            selector: Some(names.selector()),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Base URL for OpenAI clients in the cluster.
pub(crate) fn endpoint(names: &Names, spec: &InferenceDeploymentSpec) -> String {
    let port = spec.service.as_ref().and_then(|service| service.port).unwrap_or(PORT);
    let port = if port == 80 { String::new() } else { format!(":{port}") };
    format!("http://{}.{}.svc{port}/v1", names.name, names.namespace)
}
