//! Qwen3, dense: queries and keys normalised per head, head size apart from the hidden size.

use super::{Family, FamilyError, config_settings, gguf_settings, names, qwen2};
use crate::model::spec::DecoderSpec;
use crate::weights::{Config, GgufFile};

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    classes: &["Qwen3ForCausalLM"],
    from_gguf,
    from_config,
    gguf_names: &names::GGUF,
    safetensors_names: &names::SAFETENSORS,
};

fn from_gguf(file: &GgufFile) -> Result<DecoderSpec, FamilyError> {
    let mut spec = gguf_settings::read(file, FAMILY.name)?;
    spec.qk_norm = true;
    Ok(spec)
}

fn from_config(config: &Config) -> Result<DecoderSpec, FamilyError> {
    let mut spec = config_settings::read(config, FAMILY.name)?;
    qwen2::refuse_used_window(config, spec.layers)?;
    spec.qk_norm = true;
    spec.qkv_bias = config.bool("attention_bias")?.unwrap_or(false);
    spec.output_bias = spec.qkv_bias;
    Ok(spec)
}
