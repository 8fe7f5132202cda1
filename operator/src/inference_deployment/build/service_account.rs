//! An account without rights, unless the object names one.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeploymentSpec;

use super::names::Names;

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec) -> Option<ServiceAccount> {
    if spec.service_account_name.is_some() {
        return None;
    }
    Some(ServiceAccount {
        metadata: ObjectMeta { name: Some(names.name.clone()), ..ObjectMeta::default() },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}
