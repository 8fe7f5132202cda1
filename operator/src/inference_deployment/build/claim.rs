//! The claims of a cache that the object asks for: one for all replicas, or one for each.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use kube::core::ObjectMeta;
use ostro_config::{Place, Problem, Problems};
use ostro_crds::{CacheVolume, InferenceDeploymentSpec};

use super::names::{Names, labels};
use super::volumes::CACHE_VOLUME;

/// Of an object whose replicas have claims: its StatefulSet's pods bear the name with 11 characters more, in a label.
const NAME_MAX: usize = 52;

/// The claim that all replicas share.
pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec) -> Option<PersistentVolumeClaim> {
    let volume = spec.cache.as_ref()?.volume.as_ref()?;
    let metadata = ObjectMeta { name: Some(names.claim()), ..ObjectMeta::default() };
    spec.volume_per_replica().is_none().then(|| claim(metadata, volume))
}

/// What a StatefulSet makes each replica's claim of. The API server lets nobody change it: no later version may make
/// another of the same spec.
pub(super) fn template(names: &Names, spec: &InferenceDeploymentSpec) -> Option<PersistentVolumeClaim> {
    // With labels, by which the operator finds the claims; they are constant.
    let metadata = ObjectMeta {
        name: Some(CACHE_VOLUME.to_owned()),
        labels: Some(labels(&names.name)),
        ..ObjectMeta::default()
    };
    Some(claim(metadata, spec.volume_per_replica()?))
}

/// What the API server would refuse only when the pods of before are gone.
pub(super) fn check(names: &Names, spec: &InferenceDeploymentSpec) -> Result<(), Problems> {
    if spec.volume_per_replica().is_none() || names.name.len() <= NAME_MAX {
        return Ok(());
    }
    Err(Problems(vec![Problem {
        place: Place::Default,
        key: "metadata.name".to_owned(),
        value: Some(names.name.clone()),
        message: format!("must have {NAME_MAX} characters at most with cache.volume.perReplica"),
    }]))
}

fn claim(metadata: ObjectMeta, volume: &CacheVolume) -> PersistentVolumeClaim {
    let mode = volume.access_mode.map_or("ReadWriteOnce", |mode| mode.as_str());
    let requests = [("storage".to_owned(), volume.size.clone())];
    PersistentVolumeClaim {
        metadata,
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
    }
}
