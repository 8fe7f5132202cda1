//! Sizes of the tiny models, and their settings as config.json and as GGUF metadata.

use serde_json::{Value, json};

use super::{TinyFamily, TinyHead, TinyModel, vocabulary};
use crate::weights::gguf::Metadata;

pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) intermediate: usize,
    pub(super) vocab: usize,
}

impl Sizes {
    pub(super) fn of(model: &TinyModel) -> Self {
        let head_dim = if model.family == TinyFamily::Qwen3 { 32 } else { 16 };
        Sizes {
            layers: model.layers,
            hidden: 64,
            heads: 4,
            kv_heads: 2,
            head_dim,
            intermediate: 96,
            vocab: vocabulary::tokens().len(),
        }
    }
}

const NORM_EPS: f32 = 1e-5;
const ROTARY_BASE: f32 = 10_000.0;

pub(super) fn config(model: &TinyModel) -> Value {
    let (model_type, class) = match model.family {
        TinyFamily::Llama => ("llama", "LlamaForCausalLM"),
        TinyFamily::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        TinyFamily::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
    };
    let sizes = Sizes::of(model);
    json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "max_position_embeddings": model.context_length,
        "vocab_size": sizes.vocab,
        "rms_norm_eps": f64::from(NORM_EPS),
        "rope_theta": f64::from(ROTARY_BASE),
        "tie_word_embeddings": model.head == TinyHead::Tied,
        "bos_token_id": vocabulary::BEGIN_ID,
        "eos_token_id": vocabulary::END_ID,
    })
}

pub(super) fn generation_config() -> Value {
    json!({"bos_token_id": vocabulary::BEGIN_ID, "eos_token_id": vocabulary::END_ID})
}

pub(super) fn gguf_metadata(model: &TinyModel) -> Metadata {
    let architecture = match model.family {
        TinyFamily::Llama => "llama",
        TinyFamily::Qwen2 => "qwen2",
        TinyFamily::Qwen3 => "qwen3",
    };
    let sizes = Sizes::of(model);
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", architecture);
    metadata.insert("general.type", "model");
    metadata.insert("general.name", "tiny random model");
    for (name, value) in [
        ("block_count", sizes.layers),
        ("context_length", model.context_length),
        ("embedding_length", sizes.hidden),
        ("feed_forward_length", sizes.intermediate),
        ("attention.head_count", sizes.heads),
        ("attention.head_count_kv", sizes.kv_heads),
        ("attention.key_length", sizes.head_dim),
        ("attention.value_length", sizes.head_dim),
        ("rope.dimension_count", sizes.head_dim),
        ("vocab_size", sizes.vocab),
    ] {
        metadata.insert(format!("{architecture}.{name}"), value as u32);
    }
    metadata.insert(format!("{architecture}.attention.layer_norm_rms_epsilon"), NORM_EPS);
    metadata.insert(format!("{architecture}.rope.freq_base"), ROTARY_BASE);
    vocabulary::add_to(&mut metadata);
    metadata
}
