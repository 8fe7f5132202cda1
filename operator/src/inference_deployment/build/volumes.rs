//! What the daemon's container sees beside its image, which is read-only.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};
use ostro_crds::{Cache, InferenceDeploymentSpec};

use super::names::Names;

pub(crate) const CONFIG_DIR: &str = "/etc/ostro";
pub(crate) const CONFIG_VOLUME: &str = "config";
/// A StatefulSet names a replica's claim by it.
pub(crate) const CACHE_VOLUME: &str = "cache";
pub(super) const CACHE_DIR: &str = "/var/cache/ostro";
const TMP_DIR: &str = "/tmp";

/// Volumes and their mounts, in the same order.
pub(super) fn build(
    names: &Names,
    spec: &InferenceDeploymentSpec,
    config_map: &str,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let empty = |name: &str, medium: Option<&str>| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    };
    let config = Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let is_image = spec.cache.as_ref().is_some_and(|cache| cache.image.is_some());
    let mut volumes = vec![config];
    // A StatefulSet adds each replica's own.
    volumes.extend(spec.volume_per_replica().is_none().then(|| cache(names, spec)));
    volumes.extend([empty("tmp", None), empty("shm", Some("Memory"))]);
    let mut mounts = vec![
        mount(CONFIG_VOLUME, CONFIG_DIR, Some(true)),
        mount(CACHE_VOLUME, CACHE_DIR, is_image.then_some(true)),
        mount("tmp", TMP_DIR, None),
        mount("shm", "/dev/shm", None),
    ];
    volumes.extend(spec.volumes.iter().map(|extra| extra.volume.clone()));
    mounts.extend(spec.volumes.iter().map(|extra| extra.mount()));
    (volumes, mounts)
}

/// Where the daemon's user can surely write, kept as long as the cache if that is such a place: an image is read-only,
/// and a folder of the node keeps its owner (`fsGroup` does not reach it).
pub(super) fn writable_dir(spec: &InferenceDeploymentSpec) -> &'static str {
    let is_foreign = |cache: &Cache| cache.image.is_some() || cache.host_path.is_some();
    if spec.cache.as_ref().is_some_and(is_foreign) { TMP_DIR } else { CACHE_DIR }
}

fn mount(name: &str, path: &str, read_only: Option<bool>) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), read_only, ..VolumeMount::default() }
}

fn cache(names: &Names, spec: &InferenceDeploymentSpec) -> Volume {
    let Cache { volume, existing_claim, host_path, image, size_limit, prefetch: _, prune: _ } =
        spec.cache.clone().unwrap_or_default();
    let claim = existing_claim.map(|claim| claim.name).or_else(|| volume.map(|_| names.claim()));
    let claim = claim.map(|claim_name| PersistentVolumeClaimVolumeSource {
        claim_name,
        ..PersistentVolumeClaimVolumeSource::default()
    });
    let is_elsewhere = claim.is_some() || host_path.is_some() || image.is_some();
    Volume {
        name: CACHE_VOLUME.to_owned(),
        persistent_volume_claim: claim,
        host_path,
        image,
        empty_dir: (!is_elsewhere)
            .then(|| EmptyDirVolumeSource { size_limit, ..EmptyDirVolumeSource::default() }),
        ..Volume::default()
    }
}
