//! Llama and what shares its architecture: SmolLM2, TinyLlama, Mistral 7B and others.
//!
//! Converters to GGUF reorder the rows of q and k for the interleaved rotary embedding; safetensors
//! keep them for the one by halves.

use super::{Family, FamilyError, config_settings, gguf_settings, names};
use crate::model::spec::{DecoderSpec, RotaryStyle};
use crate::weights::{Config, GgufFile};

pub(super) const FAMILY: Family = Family {
    name: "llama",
    classes: &["LlamaForCausalLM", "MistralForCausalLM"],
    from_gguf,
    from_config,
    gguf_names: &names::GGUF,
    safetensors_names: &names::SAFETENSORS,
};

fn from_gguf(file: &GgufFile) -> Result<DecoderSpec, FamilyError> {
    let mut spec = gguf_settings::read(file, FAMILY.name)?;
    spec.rotary.style = RotaryStyle::Interleaved;
    Ok(spec)
}

fn from_config(config: &Config) -> Result<DecoderSpec, FamilyError> {
    config_settings::refuse_sliding_window(config)?;
    let mut spec = config_settings::read(config, FAMILY.name)?;
    spec.qkv_bias = config.bool("attention_bias")?.unwrap_or(false);
    spec.output_bias = spec.qkv_bias;
    Ok(spec)
}
