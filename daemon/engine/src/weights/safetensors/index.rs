//! `model.safetensors.index.json`: which file holds which tensor.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;

use super::SafetensorsError;
use crate::weights::config::read_json;

/// The largest models' indexes have ten megabytes and name a few hundred files.
pub const INDEX_BYTES_MAX: u64 = 32 << 20;
const SHARDS_MAX: usize = 4096;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the index: each file with the tensors that it should hold.
pub(super) fn read_shards(path: &Path) -> Result<BTreeMap<String, Vec<String>>, SafetensorsError> {
    let index: Index = read_json(path, INDEX_BYTES_MAX)?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, file) in index.weight_map {
        if !is_plain_name(&file) {
            return Err(SafetensorsError::ShardName(file.chars().take(256).collect()));
        }
        shards.entry(file).or_default().push(name);
        if shards.len() > SHARDS_MAX {
            return Err(SafetensorsError::Shards { count: shards.len(), limit: SHARDS_MAX });
        }
    }
    match shards.is_empty() {
        true => Err(SafetensorsError::EmptyIndex),
        false => Ok(shards),
    }
}

/// One ordinary component: no directories, no `..`, no root.
fn is_plain_name(file: &str) -> bool {
    let components: Vec<_> = Path::new(file).components().take(2).collect();
    matches!(components[..], [Component::Normal(name)] if name == file) && file.ends_with(".safetensors")
}
