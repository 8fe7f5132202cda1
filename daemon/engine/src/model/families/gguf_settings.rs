//! What all families read from GGUF metadata in the same way.

use super::names::{GGUF, ROPE_FREQS};
use super::{FamilyError, unsupported};
use crate::model::spec::{Activation, DecoderSpec, Rotary, RotaryScaling, RotaryStyle};
use crate::weights::gguf::{Metadata, MetadataError};
use crate::weights::{GgufFile, TensorView, WeightType};

/// The keys `ARCHITECTURE.name` of one file.
struct Settings<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

/// The spec of a plain decoder; the family adjusts what it does differently.
pub(super) fn read(file: &GgufFile, architecture: &str) -> Result<DecoderSpec, FamilyError> {
    let settings = Settings { metadata: file.metadata(), architecture };
    settings.refuse_other_designs()?;
    let heads = settings.required("attention.head_count")?;
    let hidden = settings.required("embedding_length")?;
    let head_dim = settings.head_dim(hidden, heads)?;
    let scale = settings.float("attention.scale")?.filter(|&scale| scale != 0.0);
    Ok(DecoderSpec {
        architecture: architecture.into(),
        layers: settings.required("block_count")?,
        hidden,
        heads,
        kv_heads: settings.optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        intermediate: settings.required("feed_forward_length")?,
        vocab: vocabulary(file)?,
        context_length: settings.required("context_length")?,
        norm_eps: settings.required_float("attention.layer_norm_rms_epsilon")? as f32,
        rotary: settings.rotary(file, head_dim)?,
        activation: Activation::Silu,
        qkv_bias: has_layer_tensor(file, GGUF.query, "bias"),
        output_bias: has_layer_tensor(file, GGUF.output, "bias"),
        qk_norm: has_layer_tensor(file, GGUF.query_norm, "weight"),
        tied_head: file.tensor(&format!("{}.weight", GGUF.head)).is_none(),
        attention_scale: scale.unwrap_or_else(|| 1.0 / (head_dim as f64).sqrt()) as f32,
    })
}

impl Settings<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn optional(&self, name: &str) -> Result<Option<usize>, FamilyError> {
        // On every supported machine usize has 64 bits; sizes are bounded by `DecoderSpec::check`.
        Ok(self.metadata.uint(&self.key(name))?.map(|value| value as usize))
    }

    fn required(&self, name: &str) -> Result<usize, FamilyError> {
        Ok(self.optional(name)?.ok_or_else(|| MetadataError::Missing(self.key(name)))?)
    }

    fn float(&self, name: &str) -> Result<Option<f64>, FamilyError> {
        Ok(self.metadata.float(&self.key(name))?)
    }

    fn required_float(&self, name: &str) -> Result<f64, FamilyError> {
        Ok(self.float(name)?.ok_or_else(|| MetadataError::Missing(self.key(name)))?)
    }

    fn range_error(&self, name: &str, value: impl ToString, allowed: impl Into<String>) -> FamilyError {
        MetadataError::Range { key: self.key(name), value: value.to_string(), allowed: allowed.into() }.into()
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, FamilyError> {
        let head_dim = match self.optional("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(self.range_error(
                    "attention.head_count",
                    heads,
                    format!("a divisor of {hidden}"),
                ));
            }
        };
        match self.optional("attention.value_length")? {
            Some(value) if value != head_dim => {
                Err(unsupported(format!("a value length of {value} beside a key length of {head_dim}")))
            }
            _ => Ok(head_dim),
        }
    }

    fn rotary(&self, file: &GgufFile, head_dim: usize) -> Result<Rotary, FamilyError> {
        let dims = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
        Ok(Rotary {
            theta: self.float("rope.freq_base")?.unwrap_or(10_000.0),
            dims,
            style: RotaryStyle::Halves,
            scaling: self.rotary_scaling(file, dims)?,
        })
    }

    fn rotary_scaling(&self, file: &GgufFile, dims: usize) -> Result<RotaryScaling, FamilyError> {
        let factor = match self.float("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            // The key's name in older files.
            None => self.float("rope.scale_linear")?,
        };
        let kind = self.metadata.str(&self.key("rope.scaling.type"))?;
        let stretched = factor.is_some_and(|factor| factor != 1.0 && factor != 0.0);
        let scaling = match kind {
            Some("none") => RotaryScaling::None,
            None | Some("linear") if stretched => RotaryScaling::Linear { factor: factor.unwrap_or(1.0) },
            None | Some("linear") => RotaryScaling::None,
            Some(other) => return Err(unsupported(format!("the rotary scaling {other:?}"))),
        };
        let Some(factors) = file.tensor(ROPE_FREQS) else { return Ok(scaling) };
        match scaling {
            RotaryScaling::None => rotary_factors(&factors, dims),
            _ => Err(unsupported(format!("linear rotary scaling beside {ROPE_FREQS}"))),
        }
    }

    fn refuse_other_designs(&self) -> Result<(), FamilyError> {
        if let Some(kind) = self.metadata.str("general.type")?.filter(|&kind| kind != "model") {
            return Err(unsupported(format!("a file of type {kind:?}")));
        }
        if let Some(count) = self.optional("expert_count")?.filter(|&count| count > 0) {
            return Err(unsupported(format!("a mixture of {count} experts")));
        }
        let context_length = self.required("context_length")?;
        let window = self.optional("attention.sliding_window")?;
        if let Some(window) = window.filter(|&window| window > 0 && window < context_length) {
            return Err(unsupported(format!("a sliding attention window of {window} positions")));
        }
        if self.metadata.bool(&self.key("attention.causal"))? == Some(false) {
            return Err(unsupported("attention to later positions"));
        }
        if self.metadata.bool(&self.key("use_parallel_residual"))? == Some(true) {
            return Err(unsupported("a parallel residual"));
        }
        for name in ["logit_scale", "residual_scale", "embedding_scale", "rope.scaling.attn_factor"] {
            if self.float(name)?.is_some_and(|scale| scale != 0.0 && scale != 1.0) {
                return Err(unsupported(self.key(name)));
            }
        }
        for name in ["attention.clamp_kqv", "attn_logit_softcapping", "final_logit_softcapping"] {
            if self.float(name)?.is_some_and(|limit| limit != 0.0) {
                return Err(unsupported(self.key(name)));
            }
        }
        Ok(())
    }
}

/// Files have them in F32 only, and so many values of a smaller type would be larger than the file.
fn rotary_factors(factors: &TensorView<'_>, dims: usize) -> Result<RotaryScaling, FamilyError> {
    if factors.dtype != WeightType::F32 {
        return Err(unsupported(format!("{ROPE_FREQS} of type {}", factors.dtype)));
    }
    RotaryScaling::check_factor_count(factors.elements(), dims)?;
    Ok(RotaryScaling::Factors(factors.to_f32()))
}

/// The rows of the embedding; the tokenizer may know fewer tokens (padding), never more.
fn vocabulary(file: &GgufFile) -> Result<usize, FamilyError> {
    let name = format!("{}.weight", GGUF.embedding);
    let embedding = file.tensor(&name).ok_or(FamilyError::MissingTensor(name))?;
    let rows = embedding.shape[0];
    let tokens = file.metadata().strings("tokenizer.ggml.tokens")?.map_or(0, |tokens| tokens.len());
    match tokens > rows {
        true => Err(FamilyError::Vocabulary { tokens, rows }),
        false => Ok(rows),
    }
}

/// Whether the first layer has such a tensor; `model::roles` then wants it in every layer.
fn has_layer_tensor(file: &GgufFile, role: &str, part: &str) -> bool {
    file.tensor(&format!("{}0.{role}.{part}", GGUF.layer_prefix)).is_some()
}
