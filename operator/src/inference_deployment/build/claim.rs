//! The claim of a cache that the object asks for.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use kube::core::ObjectMeta;
use ostro_crds::InferenceDeploymentSpec;

use super::names::Names;

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec) -> Option<PersistentVolumeClaim> {
    let volume = spec.cache.as_ref()?.volume.as_ref()?;
    let mode = volume.access_mode.map_or("ReadWriteOnce", |mode| mode.as_str());
    let requests = [("storage".to_owned(), volume.size.clone())];
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(names.claim()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests.into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: volume.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    })
}
