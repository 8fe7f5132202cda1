//! Models of real sizes with random weights, for measurements: speed does not depend on the values.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::bf16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{noise, vocabulary};
use crate::weights::WeightType;
use crate::weights::gguf::write::{TensorHead, write_streamed};
use crate::weights::gguf::{Metadata, Strings};

/// Sizes of a qwen3 model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    intermediate: usize,
    tied: bool,
}

/// Qwen3's (config.json of Qwen/Qwen3-0.6B, -4B, -8B).
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "qwen3-0.6b",
        layers: 28,
        hidden: 1024,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        intermediate: 3072,
        tied: true,
    },
    Shape {
        name: "qwen3-4b",
        layers: 36,
        hidden: 2560,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        intermediate: 9728,
        tied: true,
    },
    Shape {
        name: "qwen3-8b",
        layers: 36,
        hidden: 4096,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        intermediate: 12288,
        tied: false,
    },
];

const VOCAB: usize = 151_936;
const CONTEXT_LENGTH: usize = 40_960;
/// Random bytes that all matrices are cut from.
const NOISE_ELEMENTS: usize = 1 << 24;

impl Shape {
    /// One GGUF file with bf16 matrices of deviation 0.02.
    pub fn write_gguf(&self, path: &Path) -> io::Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut element = || bf16::from_f32(noise(&mut random) * 0.02);
        let noise: Vec<u8> = (0..NOISE_ELEMENTS).flat_map(|_| element().to_le_bytes()).collect();
        let tensors = self.tensors();
        let mut file = BufWriter::with_capacity(1 << 22, File::create(path)?);
        write_streamed(&mut file, &self.metadata(), &tensors, |index, out| {
            let head = &tensors[index];
            if head.dtype == WeightType::F32 {
                return (0..head.bytes / 4).try_for_each(|_| out.write_all(&1f32.to_le_bytes()));
            }
            // Another start for every matrix.
            let mut at = index * 7919 * 64 % noise.len();
            let mut left = head.bytes as usize;
            while left > 0 {
                let taken = left.min(noise.len() - at);
                out.write_all(&noise[at..at + taken])?;
                left -= taken;
                at = 0;
            }
            Ok(())
        })?;
        file.flush()
    }

    fn tensors(&self) -> Vec<TensorHead> {
        let head = |name: String, dtype: WeightType, shape: Vec<usize>| {
            let elements: usize = shape.iter().product();
            let bytes = elements as u64 * if dtype == WeightType::F32 { 4 } else { 2 };
            TensorHead { name: format!("{name}.weight"), dtype, shape, bytes }
        };
        let matrix = |name: String, rows, columns| head(name, WeightType::BF16, vec![rows, columns]);
        let vector = |name: String, length| head(name, WeightType::F32, vec![length]);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut tensors = vec![matrix("token_embd".into(), VOCAB, self.hidden)];
        for layer in 0..self.layers {
            let name = |role: &str| format!("blk.{layer}.{role}");
            tensors.extend([
                vector(name("attn_norm"), self.hidden),
                matrix(name("attn_q"), queries, self.hidden),
                matrix(name("attn_k"), keys, self.hidden),
                matrix(name("attn_v"), keys, self.hidden),
                matrix(name("attn_output"), self.hidden, queries),
                vector(name("attn_q_norm"), self.head_dim),
                vector(name("attn_k_norm"), self.head_dim),
                vector(name("ffn_norm"), self.hidden),
                matrix(name("ffn_gate"), self.intermediate, self.hidden),
                matrix(name("ffn_up"), self.intermediate, self.hidden),
                matrix(name("ffn_down"), self.hidden, self.intermediate),
            ]);
        }
        tensors.push(vector("output_norm".into(), self.hidden));
        if !self.tied {
            tensors.push(matrix("output".into(), VOCAB, self.hidden));
        }
        tensors
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", "qwen3");
        metadata.insert("general.type", "model");
        metadata.insert("general.name", self.name);
        for (name, value) in [
            ("block_count", self.layers),
            ("context_length", CONTEXT_LENGTH),
            ("embedding_length", self.hidden),
            ("feed_forward_length", self.intermediate),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("vocab_size", VOCAB),
        ] {
            metadata.insert(format!("qwen3.{name}"), value as u32);
        }
        metadata.insert("qwen3.attention.layer_norm_rms_epsilon", 1e-6f32);
        metadata.insert("qwen3.rope.freq_base", 1e6f32);
        vocabulary::add_to(&mut metadata);
        let known = vocabulary::tokens();
        let tokens: Vec<String> =
            (0..VOCAB).map(|id| known.get(id).cloned().unwrap_or_else(|| format!("t{id}"))).collect();
        let types: Vec<i32> = vec![1; VOCAB];
        metadata.insert("tokenizer.ggml.tokens", tokens.iter().map(String::as_str).collect::<Strings>());
        metadata.insert("tokenizer.ggml.token_type", types.as_slice());
        metadata
    }
}
