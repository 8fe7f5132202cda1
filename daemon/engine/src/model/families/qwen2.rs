//! Qwen2 and Qwen2.5: biases on query, key and value.

use super::{Family, FamilyError, config_settings, gguf_settings, names};
use crate::model::spec::DecoderSpec;
use crate::weights::{Config, GgufFile};

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    classes: &["Qwen2ForCausalLM"],
    from_gguf,
    from_config,
    gguf_names: &names::GGUF,
    safetensors_names: &names::SAFETENSORS,
};

fn from_gguf(file: &GgufFile) -> Result<DecoderSpec, FamilyError> {
    gguf_settings::read(file, FAMILY.name)
}

fn from_config(config: &Config) -> Result<DecoderSpec, FamilyError> {
    let mut spec = config_settings::read(config, FAMILY.name)?;
    refuse_used_window(config, spec.layers)?;
    spec.qkv_bias = true;
    Ok(spec)
}

/// The config names a window even where no layer uses it: only layers from `max_window_layers` on do.
pub(super) fn refuse_used_window(config: &Config, layers: usize) -> Result<(), FamilyError> {
    let some_layer_has_it = config.uint("max_window_layers")?.is_none_or(|first| first < layers as u64);
    match config.bool("use_sliding_window")? {
        Some(true) if some_layer_has_it => config_settings::refuse_sliding_window(config),
        _ => Ok(()),
    }
}
