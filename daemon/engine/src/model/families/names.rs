//! The names of a decoder's tensors: the two conventions that nearly all families follow.

/// A tensor's name for each role; the layers' names follow `layer_prefix` and the layer's number.
#[derive(Debug)]
pub struct TensorNames {
    pub embedding: &'static str,
    pub final_norm: &'static str,
    pub head: &'static str,
    pub layer_prefix: &'static str,
    pub attention_norm: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub output: &'static str,
    pub query_norm: &'static str,
    pub key_norm: &'static str,
    pub mlp_norm: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    /// Ends of the names of tensors that repeat what the settings say.
    pub redundant: &'static [&'static str],
}

/// Names of GGUF files (ggml's docs/gguf.md).
pub(super) const GGUF: TensorNames = TensorNames {
    embedding: "token_embd",
    final_norm: "output_norm",
    head: "output",
    layer_prefix: "blk.",
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    output: "attn_output",
    query_norm: "attn_q_norm",
    key_norm: "attn_k_norm",
    mlp_norm: "ffn_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
    // Read into the spec by the family that has it.
    redundant: &[ROPE_FREQS],
};

/// Factors of the rotary frequencies.
pub(super) const ROPE_FREQS: &str = "rope_freqs.weight";

/// Names that the `transformers` library gives its causal decoders.
pub(super) const SAFETENSORS: TensorNames = TensorNames {
    embedding: "model.embed_tokens",
    final_norm: "model.norm",
    head: "lm_head",
    layer_prefix: "model.layers.",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    mlp_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    redundant: &["rotary_emb.inv_freq"],
};
