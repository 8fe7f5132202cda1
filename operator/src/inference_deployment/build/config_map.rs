//! The daemon's TOML file.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;

use super::names::Names;
use super::short_hash;

pub(crate) const FILE: &str = "ostro.toml";

pub(super) fn build(names: &Names, config: &str) -> ConfigMap {
    let data = [(FILE.to_owned(), config.to_owned())];
    ConfigMap {
        metadata: ObjectMeta { name: Some(names.config_map()), ..ObjectMeta::default() },
        data: Some(data.into()),
        ..ConfigMap::default()
    }
}

/// Changes when pods must see other content.
pub(super) fn content_hash(config: &ConfigMap) -> String {
    short_hash(&serde_json::to_vec(&config.data).expect("texts are JSON"))
}
