//! Tiny random models, written as a GGUF file or as a safetensors directory: for tests and examples.
//!
//! Two layers unless more are asked for, grouped-query attention, a byte-level BPE vocabulary of 320 tokens and a ChatML
//! template; a few hundred kilobytes. The same settings write the same bytes on every machine, and
//! both forms hold the same numbers, so that one form checks the other. Answers are gibberish.

mod quantise;
mod settings;
mod shapes;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::weights::WeightType;
use crate::weights::gguf::write::{TensorData, write};
use settings::Sizes;

pub use shapes::{SHAPES, Shape};

/// Which family's shape the model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TinyFamily {
    Llama,
    /// With biases on query, key and value.
    Qwen2,
    /// With norms on query and key, and heads larger than hidden size / heads.
    Qwen3,
}

/// Where the output matrix comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TinyHead {
    Tied,
    Separate,
}

/// A model to write. `TinyModel::new(family)` has F32 weights, two layers, a separate head and seed 0.
#[derive(Clone, Copy, Debug)]
pub struct TinyModel {
    pub family: TinyFamily,
    /// Of the matrices. Directories hold F32, F16 and BF16; GGUF files Q8_0 and Q4_1 too.
    pub weight_type: WeightType,
    pub head: TinyHead,
    pub seed: u64,
    pub layers: usize,
    pub context_length: usize,
}

impl TinyModel {
    pub fn new(family: TinyFamily) -> Self {
        TinyModel {
            family,
            weight_type: WeightType::F32,
            head: TinyHead::Separate,
            seed: 0,
            layers: 2,
            context_length: 512,
        }
    }

    pub fn weight_type(self, weight_type: WeightType) -> Self {
        TinyModel { weight_type, ..self }
    }

    pub fn head(self, head: TinyHead) -> Self {
        TinyModel { head, ..self }
    }

    pub fn seed(self, seed: u64) -> Self {
        TinyModel { seed, ..self }
    }

    pub fn layers(self, layers: usize) -> Self {
        TinyModel { layers, ..self }
    }

    pub fn context_length(self, context_length: usize) -> Self {
        TinyModel { context_length, ..self }
    }

    /// Writes one GGUF file.
    pub fn write_gguf(&self, path: &Path) -> io::Result<()> {
        let tensors =
            self.tensors().iter().map(|tensor| self.gguf_tensor(tensor)).collect::<io::Result<Vec<_>>>()?;
        let mut file = BufWriter::new(File::create(path)?);
        write(&mut file, &settings::gguf_metadata(self), &tensors)?;
        file.flush()
    }

    /// Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
    /// model.safetensors into `folder`, which is created if need be.
    pub fn write_directory(&self, folder: &Path) -> io::Result<()> {
        self.write_settings(folder)?;
        self.write_safetensors(&folder.join("model.safetensors"), &self.tensors())
    }

    /// Like `write_directory`, with the weights in two files and an index.
    pub fn write_sharded_directory(&self, folder: &Path) -> io::Result<()> {
        const FILES: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        self.write_settings(folder)?;
        let tensors = self.tensors();
        let (first, second) = tensors.split_at(tensors.len() / 2);
        let mut weight_map = Map::new();
        for (file, part) in FILES.into_iter().zip([first, second]) {
            self.write_safetensors(&folder.join(file), part)?;
            weight_map.extend(part.iter().map(|tensor| (tensor.directory_name.clone(), json!(file))));
        }
        let index = json!({"metadata": {}, "weight_map": weight_map});
        write_json(&folder.join("model.safetensors.index.json"), &index)
    }

    fn write_settings(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        write_json(&folder.join("config.json"), &settings::config(self))?;
        write_json(&folder.join("generation_config.json"), &settings::generation_config())?;
        write_json(&folder.join("tokenizer.json"), &vocabulary::tokenizer())?;
        write_json(&folder.join("tokenizer_config.json"), &vocabulary::tokenizer_config(self.context_length))
    }

    fn gguf_tensor(&self, tensor: &Tensor) -> io::Result<TensorData> {
        // Norms and biases are F32 in GGUF files, whatever the matrices are.
        let dtype = if tensor.shape.len() == 1 { WeightType::F32 } else { self.weight_type };
        let interleaved = matches!(tensor.rows, Rows::Rotary) && self.family == TinyFamily::Llama;
        let values =
            if interleaved { tensor.interleaved(Sizes::of(self).head_dim) } else { tensor.values.clone() };
        let bytes = quantise::encode(dtype, &values)?;
        Ok(TensorData { name: tensor.gguf_name.clone(), dtype, shape: tensor.shape.clone(), bytes })
    }

    fn write_safetensors(&self, path: &Path, tensors: &[Tensor]) -> io::Result<()> {
        let dtype = match self.weight_type {
            WeightType::F32 => "F32",
            WeightType::F16 => "F16",
            WeightType::BF16 => "BF16",
            quantised => return Err(io::Error::other(format!("safetensors do not hold {quantised}"))),
        };
        let (mut header, mut data) = (Map::new(), Vec::new());
        for tensor in tensors {
            let start = data.len();
            data.extend(quantise::encode(self.weight_type, &tensor.values)?);
            let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]});
            header.insert(tensor.directory_name.clone(), entry);
        }
        let mut header = Value::Object(header).to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        file.write_all(&data)?;
        file.flush()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let sizes = Sizes::of(self);
        let mut list = TensorList { random: ChaCha8Rng::seed_from_u64(self.seed), tensors: Vec::new() };
        list.matrix(["token_embd", "model.embed_tokens"], [sizes.vocab, sizes.hidden], 1.0);
        for layer in 0..sizes.layers {
            list.layer(layer, self.family, &sizes);
        }
        list.norm(["output_norm", "model.norm"], sizes.hidden);
        if self.head == TinyHead::Separate {
            list.matrix(
                ["output", "lm_head"],
                [sizes.vocab, sizes.hidden],
                2.5 / (sizes.hidden as f32).sqrt(),
            );
        }
        list.tensors
    }
}

/// One tensor in the directory's row order.
struct Tensor {
    gguf_name: String,
    directory_name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    rows: Rows,
}

enum Rows {
    Plain,
    /// Rows of heads that the rotary embedding turns.
    Rotary,
}

impl Tensor {
    /// Rows reordered as converters to GGUF do for llama: from halves of a head to neighbours.
    fn interleaved(&self, head_dim: usize) -> Vec<f32> {
        let columns: usize = self.shape[1..].iter().product();
        let head = |values: &[f32]| {
            let row = |place: usize| place % 2 * (head_dim / 2) + place / 2;
            (0..head_dim)
                .flat_map(|place| values[row(place) * columns..][..columns].to_vec())
                .collect::<Vec<_>>()
        };
        self.values.chunks_exact(head_dim * columns).flat_map(head).collect()
    }
}

/// Draws the tensors one after the other, so that their order is part of the format.
struct TensorList {
    random: ChaCha8Rng,
    tensors: Vec<Tensor>,
}

impl TensorList {
    fn layer(&mut self, layer: usize, family: TinyFamily, sizes: &Sizes) {
        let name = |gguf: &str, directory: &str| {
            [format!("blk.{layer}.{gguf}"), format!("model.layers.{layer}.{directory}")]
        };
        let (queries, keys) = (sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim);
        let scale = |columns: usize| 1.0 / (columns as f32).sqrt();
        self.norm(name("attn_norm", "input_layernorm"), sizes.hidden);
        for (gguf, directory, rows) in
            [("q", "q_proj", queries), ("k", "k_proj", keys), ("v", "v_proj", keys)]
        {
            let names = name(&format!("attn_{gguf}"), &format!("self_attn.{directory}"));
            self.matrix(names.clone(), [rows, sizes.hidden], scale(sizes.hidden));
            let turns = || if gguf == "v" { Rows::Plain } else { Rows::Rotary };
            self.last().rows = turns();
            if family == TinyFamily::Qwen2 {
                self.vector(names.map(|name| format!("{name}.bias")), rows, |noise| 0.2 * noise);
                self.last().rows = turns();
            }
        }
        self.matrix(name("attn_output", "self_attn.o_proj"), [sizes.hidden, queries], scale(queries));
        if family == TinyFamily::Qwen3 {
            self.norm(name("attn_q_norm", "self_attn.q_norm"), sizes.head_dim);
            self.norm(name("attn_k_norm", "self_attn.k_norm"), sizes.head_dim);
        }
        self.norm(name("ffn_norm", "post_attention_layernorm"), sizes.hidden);
        self.matrix(
            name("ffn_gate", "mlp.gate_proj"),
            [sizes.intermediate, sizes.hidden],
            scale(sizes.hidden),
        );
        self.matrix(name("ffn_up", "mlp.up_proj"), [sizes.intermediate, sizes.hidden], scale(sizes.hidden));
        self.matrix(
            name("ffn_down", "mlp.down_proj"),
            [sizes.hidden, sizes.intermediate],
            scale(sizes.intermediate),
        );
    }

    fn matrix(&mut self, names: [impl Into<String>; 2], shape: [usize; 2], scale: f32) {
        let names = names.map(|name| format!("{}.weight", name.into()));
        self.push(names, shape.to_vec(), |noise| scale * noise);
    }

    fn norm(&mut self, names: [impl Into<String>; 2], length: usize) {
        self.vector(names.map(|name| format!("{}.weight", name.into())), length, |noise| 1.0 + 0.1 * noise);
    }

    fn vector(&mut self, names: [String; 2], length: usize, value: impl Fn(f32) -> f32) {
        self.push(names, vec![length], value);
    }

    fn push(
        &mut self,
        [gguf_name, directory_name]: [String; 2],
        shape: Vec<usize>,
        value: impl Fn(f32) -> f32,
    ) {
        let elements = shape.iter().product();
        let values = (0..elements).map(|_| value(noise(&mut self.random))).collect();
        self.tensors.push(Tensor { gguf_name, directory_name, shape, values, rows: Rows::Plain });
    }

    fn last(&mut self) -> &mut Tensor {
        self.tensors.last_mut().expect("a tensor was pushed before")
    }
}

/// Mean 0, variance 1, nearly normal: four uniform numbers, exact in f32 on every machine.
fn noise(random: &mut ChaCha8Rng) -> f32 {
    const DEVIATION: f32 = 37_837.23; // of the sum: 2 * 65536 / sqrt(12)
    let bytes = random.next_u64().to_le_bytes();
    let sum: i32 = bytes.as_chunks::<2>().0.iter().map(|pair| i32::from(i16::from_le_bytes(*pair))).sum();
    sum as f32 / DEVIATION
}

fn write_json(path: &Path, value: &Value) -> io::Result<()> {
    fs::write(path, format!("{value:#}\n"))
}
