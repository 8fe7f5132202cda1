//! Rewrites llama2.c's model file, losslessly, as the directory that Hugging Face tools would write.
//!
//! The file (`export.py` of llama2.c, version 0): seven little-endian i32, then every matrix in f32,
//! one kind after the other, each kind for all layers. Its rotary embedding turns neighbouring pairs
//! of a head; the directory's turns halves, so the rows of q and k change places.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

/// Writes `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and
/// `tokenizer_config.json` into `out_dir`.
pub(crate) fn convert(bin: &Path, tokenizer_json: &Path, out_dir: &Path) -> Result<()> {
    let bytes = std::fs::read(bin).with_context(|| format!("cannot read {}", bin.display()))?;
    let shape = Shape::read(&bytes).with_context(|| format!("{} is not a llama2.c model", bin.display()))?;
    let tensors = shape.tensors(bytes.len())?;
    write_safetensors(&out_dir.join("model.safetensors"), &bytes, &tensors)?;
    write_json(&out_dir.join("config.json"), &shape.config())?;
    // Training stories were divided by the token that begins each, so that token ends an answer too.
    write_json(&out_dir.join("generation_config.json"), &json!({"bos_token_id": 1, "eos_token_id": [1, 2]}))?;
    write_json(&out_dir.join("tokenizer_config.json"), &tokenizer_config())?;
    std::fs::copy(tokenizer_json, out_dir.join("tokenizer.json")).context("cannot copy tokenizer.json")?;
    Ok(())
}

/// The header of the file.
struct Shape {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    context: usize,
    tied_head: bool,
}

/// A tensor of the directory and where its bytes are in the file.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    bytes: Range<usize>,
    rows: Rows,
}

/// How the rows of a tensor are taken over.
#[derive(Clone, Copy)]
enum Rows {
    AsTheyAre,
    /// Within each head of this many rows: the even rows first, then the odd ones.
    PairsToHalves(usize),
}

const HEADER_BYTES: usize = 28;

impl Shape {
    fn read(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() >= HEADER_BYTES, "the file ends inside its header");
        let field = |i: usize| {
            i32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
        };
        let size = |i: usize, name: &str| {
            let value = field(i).unsigned_abs() as usize;
            ensure!((1..=1 << 20).contains(&value), "{name} is {}", field(i));
            Ok(value)
        };
        let shape = Shape {
            hidden: size(0, "hidden size")?,
            intermediate: size(1, "intermediate size")?,
            layers: size(2, "layers")?,
            heads: size(3, "heads")?,
            kv_heads: size(4, "kv heads")?,
            vocab: size(5, "vocabulary")?,
            context: size(6, "context length")?,
            // A negative vocabulary announces a separate output matrix.
            tied_head: field(5) > 0,
        };
        ensure!(
            shape.hidden.is_multiple_of(2 * shape.heads),
            "{} heads do not divide {}",
            shape.heads,
            shape.hidden
        );
        ensure!(
            shape.heads.is_multiple_of(shape.kv_heads),
            "{} kv heads do not divide {}",
            shape.kv_heads,
            shape.heads
        );
        Ok(shape)
    }

    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// The tensors in the file's order; fails when they do not fill the file exactly.
    fn tensors(&self, file_bytes: usize) -> Result<Vec<Tensor>> {
        let (hidden, intermediate, as_is) = (self.hidden, self.intermediate, Rows::AsTheyAre);
        let (kv_rows, turned) = (self.kv_heads * self.head_dim(), Rows::PairsToHalves(self.head_dim()));
        let mut list = Layout { tensors: Vec::new(), offset: HEADER_BYTES };
        list.one("model.embed_tokens.weight".into(), vec![self.vocab, hidden], as_is);
        let kinds = [
            ("input_layernorm", vec![hidden], as_is),
            ("self_attn.q_proj", vec![hidden, hidden], turned),
            ("self_attn.k_proj", vec![kv_rows, hidden], turned),
            ("self_attn.v_proj", vec![kv_rows, hidden], as_is),
            ("self_attn.o_proj", vec![hidden, hidden], as_is),
            ("post_attention_layernorm", vec![hidden], as_is),
            ("mlp.gate_proj", vec![intermediate, hidden], as_is),
            ("mlp.down_proj", vec![hidden, intermediate], as_is),
            ("mlp.up_proj", vec![intermediate, hidden], as_is),
        ];
        for (kind, shape, rows) in kinds {
            for layer in 0..self.layers {
                list.one(format!("model.layers.{layer}.{kind}.weight"), shape.clone(), rows);
            }
        }
        list.one("model.norm.weight".into(), vec![hidden], as_is);
        // Tables of cosines and sines that readers compute themselves.
        list.offset += 2 * self.context * (self.head_dim() / 2) * 4;
        if !self.tied_head {
            list.one("lm_head.weight".into(), vec![self.vocab, hidden], as_is);
        }
        ensure!(
            list.offset == file_bytes,
            "the header implies {} bytes, the file has {file_bytes}",
            list.offset
        );
        Ok(list.tensors)
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": self.context,
            "vocab_size": self.vocab,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied_head,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "float32",
        })
    }
}

struct Layout {
    tensors: Vec<Tensor>,
    offset: usize,
}

impl Layout {
    fn one(&mut self, name: String, shape: Vec<usize>, rows: Rows) {
        let end = self.offset + 4 * shape.iter().product::<usize>();
        self.tensors.push(Tensor { name, shape, bytes: self.offset..end, rows });
        self.offset = end;
    }
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": true,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    std::fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

fn write_safetensors(path: &Path, bytes: &[u8], tensors: &[Tensor]) -> Result<()> {
    let mut header = Map::new();
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.bytes.len();
        header.insert(
            tensor.name.clone(),
            json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for tensor in tensors {
        write_rows(&mut out, &bytes[tensor.bytes.clone()], tensor)?;
    }
    out.flush().with_context(|| format!("cannot write {}", path.display()))
}

fn write_rows(out: &mut impl Write, bytes: &[u8], tensor: &Tensor) -> Result<()> {
    let Rows::PairsToHalves(head_rows) = tensor.rows else {
        return Ok(out.write_all(bytes)?);
    };
    let row_bytes = 4 * tensor.shape[1];
    for head in bytes.chunks_exact(head_rows * row_bytes) {
        for parity in 0..2 {
            for row in (parity..head_rows).step_by(2) {
                out.write_all(&head[row * row_bytes..][..row_bytes])?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose numbers count up, so that each tells where it came from.
    fn counting_file(vocab: i32) -> Vec<u8> {
        let header = [8i32, 12, 2, 2, 1, vocab, 4];
        let (hidden, intermediate, layers, kv, head_dim, context) = (8, 12, 2, 4, 4, 4);
        let rows = vocab.unsigned_abs() as usize * if vocab < 0 { 2 } else { 1 };
        let per_layer = 2 * hidden + 2 * hidden * hidden + 2 * kv * hidden + 3 * hidden * intermediate;
        let numbers = rows * hidden + layers * per_layer + hidden + context * head_dim;
        let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
        bytes.extend((0..numbers).flat_map(|i| (i as f32).to_le_bytes()));
        bytes
    }

    fn convert_bytes(bytes: &[u8]) -> Result<(tempfile::TempDir, Value, Vec<u8>)> {
        let folder = tempfile::tempdir()?;
        let (bin, tokenizer) = (folder.path().join("a.bin"), folder.path().join("t.json"));
        std::fs::write(&bin, bytes)?;
        std::fs::write(&tokenizer, "{}")?;
        convert(&bin, &tokenizer, folder.path())?;
        let file = std::fs::read(folder.path().join("model.safetensors"))?;
        let header_bytes = u64::from_le_bytes(file[..8].try_into()?) as usize;
        let header = serde_json::from_slice(&file[8..8 + header_bytes])?;
        Ok((folder, header, file[8 + header_bytes..].to_vec()))
    }

    fn numbers(header: &Value, data: &[u8], name: &str) -> Vec<f32> {
        let offset = |i: usize| header[name]["data_offsets"][i].as_u64().expect("an offset") as usize;
        data[offset(0)..offset(1)]
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect()
    }

    #[test]
    fn rows_of_q_go_from_pairs_to_halves_and_others_stay() -> Result<()> {
        let (_folder, header, data) = convert_bytes(&counting_file(5))?;
        assert_eq!(header["model.layers.1.self_attn.k_proj.weight"]["shape"], json!([4, 8]));
        // Embedding 40 numbers, two attention norms 16: layer 0's q begins at 56.
        let q = numbers(&header, &data, "model.layers.0.self_attn.q_proj.weight");
        let first_of_row: Vec<f32> = q.chunks_exact(8).map(|row| row[0]).collect();
        let row = |i: usize| (56 + 8 * i) as f32;
        assert_eq!(first_of_row, [0, 2, 1, 3, 4, 6, 5, 7].map(row));
        let v = numbers(&header, &data, "model.layers.0.self_attn.v_proj.weight");
        assert_eq!(v[0], (56 + 128 + 64) as f32);
        assert_eq!(v.windows(2).filter(|pair| pair[1] != pair[0] + 1.0).count(), 0);
        assert!(header.get("lm_head.weight").is_none());
        Ok(())
    }

    #[test]
    fn negative_vocabulary_has_a_separate_head() -> Result<()> {
        let (folder, header, data) = convert_bytes(&counting_file(-5))?;
        let head = numbers(&header, &data, "lm_head.weight");
        let total = counting_file(-5).len() / 4 - 7;
        assert_eq!(*head.last().expect("numbers"), (total - 1) as f32);
        let config: Value = serde_json::from_slice(&std::fs::read(folder.path().join("config.json"))?)?;
        assert_eq!(config["tie_word_embeddings"], json!(false));
        Ok(())
    }

    #[test]
    fn a_file_of_the_wrong_length_is_refused() {
        let whole = counting_file(5);
        for length in [0, 27, 28, whole.len() - 4] {
            assert!(convert_bytes(&whole[..length]).is_err(), "{length} bytes");
        }
    }
}
