//! The decoder written a second time, slowly: candle's own file readers, dequantisation and matrix product, plain f32
//! loops for the rest. Shares no line with the engine.
#![allow(dead_code, unreachable_pub)]

mod attention;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};

pub struct Reference {
    config: Config,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Tensor,
}

struct Config {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f32,
    theta: f64,
    pairs: Pairs,
}

/// Which dimensions of a head turn together.
#[derive(Clone, Copy)]
enum Pairs {
    /// llama in GGUF files: 2i and 2i + 1.
    Neighbours,
    /// everything else: i and i + half.
    Halves,
}

struct Layer {
    attention_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mlp_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

struct Linear {
    weight: Tensor,
    bias: Option<Vec<f32>>,
}

impl Reference {
    /// A GGUF file, or a directory with safetensors.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() { Self::from_safetensors(path) } else { Self::from_gguf(path) }
    }

    fn from_gguf(path: &Path) -> Result<Self> {
        let mut file = File::open(path)?;
        let content = gguf_file::Content::read(&mut file)?;
        let architecture = content.metadata["general.architecture"].to_string()?.clone();
        let key =
            |name: &str| content.metadata.get(&format!("{architecture}.{name}")).context(name.to_owned());
        let int = |name: &str| -> Result<usize> { Ok(key(name)?.to_u32()? as usize) };
        let (heads, hidden) = (int("attention.head_count")?, int("embedding_length")?);
        let config = Config {
            heads,
            kv_heads: int("attention.head_count_kv")?,
            head_dim: int("attention.key_length").unwrap_or(hidden / heads),
            eps: key("attention.layer_norm_rms_epsilon")?.to_f32()?,
            theta: key("rope.freq_base").and_then(|theta| Ok(theta.to_f32()?)).unwrap_or(10_000.0).into(),
            pairs: if architecture == "llama" { Pairs::Neighbours } else { Pairs::Halves },
        };
        let layer_count = int("block_count")?;
        let mut tensors = HashMap::new();
        for name in content.tensor_infos.keys() {
            let tensor = content.tensor(&mut file, name, &Device::Cpu)?.dequantize(&Device::Cpu)?;
            tensors.insert(name.clone(), tensor);
        }
        let names = Names {
            embedding: "token_embd",
            norm: "output_norm",
            head: "output",
            layer: "blk.",
            roles: [
                "attn_norm",
                "attn_q",
                "attn_k",
                "attn_v",
                "attn_output",
                "ffn_norm",
                "ffn_gate",
                "ffn_up",
                "ffn_down",
            ],
        };
        Self::assemble(config, layer_count, &names, &tensors)
    }

    fn from_safetensors(folder: &Path) -> Result<Self> {
        let settings: serde_json::Value = serde_json::from_reader(File::open(folder.join("config.json"))?)?;
        let int = |name: &str| settings[name].as_u64().map(|value| value as usize).context(name.to_owned());
        let (heads, hidden) = (int("num_attention_heads")?, int("hidden_size")?);
        let config = Config {
            heads,
            kv_heads: int("num_key_value_heads").unwrap_or(heads),
            head_dim: int("head_dim").unwrap_or(hidden / heads),
            eps: settings["rms_norm_eps"].as_f64().context("rms_norm_eps")? as f32,
            theta: settings["rope_theta"].as_f64().unwrap_or(10_000.0),
            pairs: Pairs::Halves,
        };
        let layer_count = int("num_hidden_layers")?;
        let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        let tensors = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?)))
            .collect::<Result<_>>()?;
        let names = Names {
            embedding: "model.embed_tokens",
            norm: "model.norm",
            head: "lm_head",
            layer: "model.layers.",
            roles: [
                "input_layernorm",
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.o_proj",
                "post_attention_layernorm",
                "mlp.gate_proj",
                "mlp.up_proj",
                "mlp.down_proj",
            ],
        };
        Self::assemble(config, layer_count, &names, &tensors)
    }

    fn assemble(
        config: Config,
        layer_count: usize,
        names: &Names,
        tensors: &HashMap<String, Tensor>,
    ) -> Result<Self> {
        let weight = |name: &str| tensors.get(&format!("{name}.weight")).cloned();
        let vector =
            |name: &str| -> Result<Vec<f32>> { Ok(weight(name).context(name.to_owned())?.to_vec1()?) };
        let linear = |name: &str| -> Result<Linear> {
            let bias = tensors.get(&format!("{name}.bias")).map(Tensor::to_vec1).transpose()?;
            Ok(Linear { weight: weight(name).context(name.to_owned())?, bias })
        };
        let layer = |index: usize| -> Result<Layer> {
            let [attention_norm, query, key, value, output, mlp_norm, gate, up, down] =
                names.roles.map(|role| format!("{}{index}.{role}", names.layer));
            Ok(Layer {
                attention_norm: vector(&attention_norm)?,
                query: linear(&query)?,
                key: linear(&key)?,
                value: linear(&value)?,
                output: linear(&output)?,
                mlp_norm: vector(&mlp_norm)?,
                gate: linear(&gate)?,
                up: linear(&up)?,
                down: linear(&down)?,
            })
        };
        let embedding = weight(names.embedding).context("no embedding")?;
        Ok(Reference {
            layers: (0..layer_count).map(layer).collect::<Result<_>>()?,
            norm: vector(names.norm)?,
            head: weight(names.head).unwrap_or_else(|| embedding.clone()),
            embedding,
            config,
        })
    }

    /// Logits of all rows from `first` on.
    pub fn forward(&self, tokens: &[u32], first: usize) -> Result<Vec<Vec<f32>>> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut hidden: Vec<Vec<f32>> = self.embedding.index_select(&ids, 0)?.to_vec2()?;
        for layer in &self.layers {
            let x = self.norm(&hidden, &layer.attention_norm);
            let (mut queries, mut keys) = (layer.query.apply(&x)?, layer.key.apply(&x)?);
            for (position, (query, key)) in queries.iter_mut().zip(&mut keys).enumerate() {
                self.rotate(query, position);
                self.rotate(key, position);
            }
            let values = layer.value.apply(&x)?;
            let attended = attention::attend(&self.config, &queries, &keys, &values)?;
            add(&mut hidden, layer.output.apply(&attended)?);

            let x = self.norm(&hidden, &layer.mlp_norm);
            let mut gate = layer.gate.apply(&x)?;
            for (gate, up) in gate.iter_mut().flatten().zip(layer.up.apply(&x)?.iter().flatten()) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
            add(&mut hidden, layer.down.apply(&gate)?);
        }
        let last = self.norm(&hidden[first..], &self.norm);
        Linear { weight: self.head.clone(), bias: None }.apply(&last)
    }

    /// Greedy: at most `max_tokens`, up to and with one of `ends`; and the smallest margin between the first two logits.
    /// A draft is checked in one pass and followed as far as it is right, so it changes the time and nothing else.
    pub fn answer(
        &self,
        prompt: &[u32],
        draft: &[u32],
        max_tokens: usize,
        ends: &[u32],
    ) -> Result<(Vec<u32>, f32)> {
        let (mut answer, mut least) = (Vec::new(), f32::INFINITY);
        loop {
            let guess = if draft.starts_with(&answer) { &draft[answer.len()..] } else { &[] };
            let known = [prompt, &answer].concat();
            let tokens = [&known, guess].concat();
            for (index, logits) in self.forward(&tokens, known.len() - 1)?.iter().enumerate() {
                let (token, margin) = best(logits);
                answer.push(token);
                least = least.min(margin);
                if answer.len() == max_tokens || ends.contains(&token) {
                    return Ok((answer, least));
                }
                if guess.get(index) != Some(&token) {
                    break;
                }
            }
        }
    }

    fn norm(&self, rows: &[Vec<f32>], weight: &[f32]) -> Vec<Vec<f32>> {
        let norm = |row: &Vec<f32>| {
            let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
            let scale = 1.0 / (mean + self.config.eps).sqrt();
            row.iter().zip(weight).map(|(x, weight)| x * scale * weight).collect()
        };
        rows.iter().map(norm).collect()
    }

    fn rotate(&self, row: &mut [f32], position: usize) {
        let half = self.config.head_dim / 2;
        for head in row.chunks_mut(self.config.head_dim) {
            for pair in 0..half {
                let frequency = self.config.theta.powf(-(pair as f64) / half as f64);
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (sin, cos) = (sin as f32, cos as f32);
                let (i, j) = match self.config.pairs {
                    Pairs::Neighbours => (2 * pair, 2 * pair + 1),
                    Pairs::Halves => (pair, pair + half),
                };
                (head[i], head[j]) = (head[i] * cos - head[j] * sin, head[i] * sin + head[j] * cos);
            }
        }
    }
}

struct Names {
    embedding: &'static str,
    norm: &'static str,
    head: &'static str,
    layer: &'static str,
    /// In the order of `Layer`.
    roles: [&'static str; 9],
}

impl Linear {
    fn apply(&self, rows: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let x = Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu)?;
        let mut out: Vec<Vec<f32>> = x.matmul(&self.weight.t()?)?.to_vec2()?;
        if let Some(bias) = &self.bias {
            out.iter_mut().for_each(|row| row.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias));
        }
        Ok(out)
    }
}

/// The token of the largest logit, and its distance to the second.
pub fn best(logits: &[f32]) -> (u32, f32) {
    let (mut token, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > first {
            (token, second, first) = (index as u32, first, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (token, first - second)
}

fn add(rows: &mut [Vec<f32>], others: Vec<Vec<f32>>) {
    for (row, other) in rows.iter_mut().flatten().zip(others.iter().flatten()) {
        *row += other;
    }
}
