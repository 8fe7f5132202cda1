//! The daemon's TOML file. Its name is of its content: a pod of before whose container starts again reads what it had,
//! whatever the object has become since.

use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use kube::core::ObjectMeta;

use super::names::Names;
use super::short_hash;
use super::volumes::CONFIG_VOLUME;

pub(crate) const FILE: &str = "ostro.toml";

pub(super) fn name(names: &Names, config: &str) -> String {
    format!("{}{}", prefix(names), short_hash(config.as_bytes()))
}

/// Of the names of all of an object's configurations.
pub(crate) fn prefix(names: &Names) -> String {
    format!("{}-config-", names.name)
}

pub(super) fn build(name: String, config: &str) -> ConfigMap {
    let data = [(FILE.to_owned(), config.to_owned())];
    ConfigMap {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        data: Some(data.into()),
        ..ConfigMap::default()
    }
}

/// The one that a pod reads.
pub(crate) fn config_map_of(pod: &PodSpec) -> Option<&str> {
    let mut volumes = pod.volumes.iter().flatten();
    let config = volumes.find(|volume| volume.name == CONFIG_VOLUME)?;
    Some(&config.config_map.as_ref()?.name)
}
