//! What all families read from config.json in the same way.

use serde_json::Value;

use super::{FamilyError, unsupported};
use crate::model::spec::{Activation, DecoderSpec, Llama3Scaling, Rotary, RotaryScaling, RotaryStyle};
use crate::weights::{Config, ConfigError};

/// The spec of a plain decoder; the family adjusts what it does differently.
pub(super) fn read(config: &Config, architecture: &str) -> Result<DecoderSpec, FamilyError> {
    refuse_other_designs(config)?;
    let heads = required(config, "num_attention_heads")?;
    let hidden = required(config, "hidden_size")?;
    let head_dim = match optional(config, "head_dim")? {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(config.value_error("num_attention_heads", "a divisor of hidden_size").into()),
    };
    Ok(DecoderSpec {
        architecture: architecture.into(),
        layers: required(config, "num_hidden_layers")?,
        hidden,
        heads,
        kv_heads: optional(config, "num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        intermediate: required(config, "intermediate_size")?,
        vocab: required(config, "vocab_size")?,
        context_length: context_length(config)?,
        norm_eps: config.float("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rotary: rotary(config, head_dim)?,
        activation: activation(config)?,
        qkv_bias: false,
        output_bias: false,
        qk_norm: false,
        tied_head: config.bool("tie_word_embeddings")?.unwrap_or(false),
        attention_scale: (1.0 / (head_dim as f64).sqrt()) as f32,
    })
}

/// Where attention to chunks takes over, the rest of the context is not there yet.
fn context_length(config: &Config) -> Result<usize, FamilyError> {
    let all = required(config, "max_position_embeddings")?;
    let Some(chunks) = config.object("dual_chunk_attention_config")? else { return Ok(all) };
    Ok(all.min(required(&chunks, "original_max_position_embeddings")?))
}

/// Fails when some layer attends to fewer than all earlier positions.
pub(super) fn refuse_sliding_window(config: &Config) -> Result<(), FamilyError> {
    let context_length = required(config, "max_position_embeddings")? as u64;
    match config.uint("sliding_window")? {
        Some(window) if window < context_length => {
            Err(unsupported(format!("a sliding attention window of {window} positions")))
        }
        _ => Ok(()),
    }
}

fn refuse_other_designs(config: &Config) -> Result<(), FamilyError> {
    for key in ["num_experts", "num_local_experts", "n_routed_experts"] {
        if config.uint(key)?.is_some_and(|count| count > 0) {
            return Err(unsupported(format!("a mixture of experts ({key})")));
        }
    }
    if config.bool("mlp_bias")? == Some(true) {
        return Err(unsupported("mlp_bias = true"));
    }
    if config.bool("is_causal")? == Some(false) {
        return Err(unsupported("attention to later positions (is_causal = false)"));
    }
    let kinds = config.strings("layer_types")?.unwrap_or_default();
    match kinds.iter().find(|&&kind| kind != "full_attention") {
        Some(kind) => Err(unsupported(format!("the layer type {kind:?}"))),
        None => Ok(()),
    }
}

fn required(config: &Config, key: &str) -> Result<usize, FamilyError> {
    Ok(optional(config, key)?.ok_or_else(|| ConfigError::Missing(key.into()))?)
}

fn optional(config: &Config, key: &str) -> Result<Option<usize>, FamilyError> {
    // On every supported machine usize has 64 bits; sizes are bounded by `DecoderSpec::check`.
    Ok(config.uint(key)?.map(|value| value as usize))
}

fn activation(config: &Config) -> Result<Activation, FamilyError> {
    match config.str("hidden_act")?.unwrap_or("silu") {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(unsupported(format!("the activation {other:?}"))),
    }
}

fn rotary(config: &Config, head_dim: usize) -> Result<Rotary, FamilyError> {
    // Newer configs keep base and scaling together in `rope_parameters`, whose base comes first.
    let newer = config.object("rope_parameters")?;
    let newer_theta = newer.as_ref().map(|newer| newer.float("rope_theta")).transpose()?.flatten();
    let settings = config.object("rope_scaling")?.filter(|settings| !settings.is_empty()).or(newer);
    let (theta, scaling) = match &settings {
        Some(settings) if settings.has_objects() => {
            return Err(unsupported("rotary settings that differ by type of layer"));
        }
        Some(settings) => (settings.float("rope_theta")?, rotary_scaling(settings)?),
        None => (None, RotaryScaling::None),
    };
    let theta = theta.or(newer_theta).or(config.float("rope_theta")?);
    let part = config.float("partial_rotary_factor")?.unwrap_or(1.0);
    if !(part > 0.0 && part <= 1.0) {
        return Err(config.value_error("partial_rotary_factor", "above 0 and at most 1").into());
    }
    let dims = (head_dim as f64 * part) as usize;
    Ok(Rotary { theta: theta.unwrap_or(10_000.0), dims, style: RotaryStyle::Halves, scaling })
}

fn rotary_scaling(settings: &Config) -> Result<RotaryScaling, FamilyError> {
    let number = |key: &str| -> Result<f64, FamilyError> {
        Ok(settings.float(key)?.ok_or_else(|| ConfigError::Missing(format!("rope_scaling.{key}")))?)
    };
    let kind = settings.get("rope_type").or_else(|| settings.get("type")).and_then(Value::as_str);
    match kind.unwrap_or("default") {
        "default" | "none" => Ok(RotaryScaling::None),
        "linear" => Ok(RotaryScaling::Linear { factor: number("factor")? }),
        "llama3" => Ok(RotaryScaling::Llama3(Llama3Scaling {
            factor: number("factor")?,
            low_frequency_factor: number("low_freq_factor")?,
            high_frequency_factor: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")?,
        })),
        other => Err(unsupported(format!("the rotary scaling {other:?}"))),
    }
}
