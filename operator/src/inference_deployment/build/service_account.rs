//! An account without rights, unless the pods have another.

use k8s_openapi::api::core::v1::{PodTemplateSpec, ServiceAccount};
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeploymentSpec;

use super::names::Names;

pub(super) fn build(
    names: &Names,
    spec: &InferenceDeploymentSpec,
    pod: &PodTemplateSpec,
) -> Option<ServiceAccount> {
    let own = Some(&names.name);
    let of_pods = pod.spec.as_ref().and_then(|pod| pod.service_account_name.as_ref());
    // One that the object names is somebody else's, even by this name.
    if of_pods != own || spec.service_account_name.as_ref() == own {
        return None;
    }
    Some(ServiceAccount {
        metadata: ObjectMeta { name: Some(names.name.clone()), ..ObjectMeta::default() },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}
