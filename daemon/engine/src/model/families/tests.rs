use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::model::roles::DecoderTensors;
use crate::model::spec::{Activation, Llama3Scaling, RotaryScaling, RotaryStyle};
use crate::tiny::{TinyFamily, TinyHead, TinyModel};
use crate::weights::WeightType;
use crate::weights::gguf::Metadata;
use crate::weights::gguf::write::{TensorData, write};

const FAMILIES_BY_NAME: [(TinyFamily, &str); 3] =
    [(TinyFamily::Llama, "llama"), (TinyFamily::Qwen2, "qwen2"), (TinyFamily::Qwen3, "qwen3")];

fn message(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What the model's files say, all checks done.
fn load(path: &Path) -> Result<DecoderSpec, String> {
    let files = ModelFiles::open(path).map_err(|error| message(&error))?;
    let (family, spec) = read_spec(&files).map_err(|error| message(&error))?;
    DecoderTensors::find(&files, family, &spec).map_err(|error| message(&error))?;
    Ok(spec)
}

/// A model directory whose config.json can be changed.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new(family: TinyFamily) -> Self {
        let folder = tempfile::tempdir().unwrap();
        TinyModel::new(family).write_directory(folder.path()).unwrap();
        Directory(folder)
    }

    fn with(&self, changes: Value) -> Result<DecoderSpec, String> {
        let path = self.0.path().join("config.json");
        let original = fs::read(&path).unwrap();
        let mut config: Value = serde_json::from_slice(&original).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(&path, config.to_string()).unwrap();
        let result = load(self.0.path());
        fs::write(&path, original).unwrap();
        result
    }

    fn check_refused(&self, changes: Value, expected: &str) {
        let found = self.with(changes).expect_err("refused");
        assert!(found.contains(expected), "{found}");
    }
}

/// A GGUF file whose metadata and tensors can be changed.
struct Gguf {
    folder: tempfile::TempDir,
    metadata: Metadata,
    tensors: Vec<TensorData>,
}

impl Gguf {
    fn new(model: TinyModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        model.write_gguf(&path).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let tensors = file.tensor_names().map(|name| file.tensor(name).unwrap().into());
        Gguf { tensors: tensors.collect(), metadata: file.metadata().clone(), folder }
    }

    fn load(&self) -> Result<DecoderSpec, String> {
        let path: PathBuf = self.folder.path().join("changed.gguf");
        write(&mut File::create(&path).unwrap(), &self.metadata, &self.tensors).unwrap();
        load(&path)
    }

    fn with(&self, change: impl FnOnce(&mut Metadata, &mut Vec<TensorData>)) -> Result<DecoderSpec, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut changed = Gguf { folder, metadata: self.metadata.clone(), tensors: self.tensors.clone() };
        change(&mut changed.metadata, &mut changed.tensors);
        changed.load()
    }

    fn check_refused(&self, change: impl FnOnce(&mut Metadata, &mut Vec<TensorData>), expected: &str) {
        let found = self.with(change).expect_err("refused");
        assert!(found.contains(expected), "{found}");
    }
}

fn vector(name: &str, values: &[f32]) -> TensorData {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorData { name: name.into(), dtype: WeightType::F32, shape: vec![values.len()], bytes }
}

#[test]
fn both_forms_of_a_model_give_the_same_spec() {
    for (family, name) in FAMILIES_BY_NAME {
        for head in [TinyHead::Tied, TinyHead::Separate] {
            let folder = tempfile::tempdir().unwrap();
            let model = TinyModel::new(family).head(head);
            let gguf = folder.path().join("tiny.gguf");
            model.write_gguf(&gguf).unwrap();
            model.write_directory(&folder.path().join("directory")).unwrap();
            let mut from_gguf = load(&gguf).unwrap();
            let from_directory = load(&folder.path().join("directory")).unwrap();
            assert_eq!(from_gguf.architecture, name);
            assert_eq!(from_gguf.tied_head, head == TinyHead::Tied);
            assert_eq!(from_gguf.qkv_bias, family == TinyFamily::Qwen2);
            assert_eq!(from_gguf.qk_norm, family == TinyFamily::Qwen3);
            let style = match family {
                TinyFamily::Llama => RotaryStyle::Interleaved,
                _ => RotaryStyle::Halves,
            };
            assert_eq!(from_gguf.rotary.style, style);
            from_gguf.rotary.style = RotaryStyle::Halves;
            assert_eq!(from_gguf, from_directory);
        }
    }
}

#[test]
fn config_variants_are_read() {
    let llama = Directory::new(TinyFamily::Llama);
    let mistral =
        llama.with(json!({"architectures": ["MistralForCausalLM"], "sliding_window": null})).unwrap();
    assert_eq!(mistral, llama.with(json!({})).unwrap());
    llama.with(json!({"sliding_window": 512})).unwrap();
    let linear = llama.with(json!({"rope_scaling": {"type": "linear", "factor": 2.0}})).unwrap();
    assert_eq!(linear.rotary.scaling, RotaryScaling::Linear { factor: 2.0 });
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    });
    let scaled = llama.with(json!({"rope_scaling": llama3})).unwrap();
    let expected = Llama3Scaling {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 128.0,
    };
    assert_eq!(scaled.rotary.scaling, RotaryScaling::Llama3(expected));
    let newer = json!({"rope_theta": null, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}});
    assert_eq!(llama.with(newer).unwrap().rotary.theta, 500_000.0);
    let both = json!({"rope_theta": 1e4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}});
    assert_eq!(llama.with(both).unwrap().rotary.theta, 1e6, "as transformers and llama.cpp");
    let older = json!({"rope_theta": 1e4, "rope_scaling": {"rope_type": "default", "rope_theta": 1e6}});
    assert_eq!(llama.with(older).unwrap().rotary.theta, 1e6);
    let apart =
        json!({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_theta": 1e6}});
    assert_eq!(llama.with(apart).unwrap().rotary.theta, 1e6);
    let empty = json!({"rope_scaling": {}, "rope_parameters": {"type": "linear", "factor": 2.0}});
    assert_eq!(llama.with(empty).unwrap().rotary.scaling, RotaryScaling::Linear { factor: 2.0 });
    let chunks = json!({"original_max_position_embeddings": 64, "chunk_size": 64});
    assert_eq!(llama.with(json!({"dual_chunk_attention_config": chunks})).unwrap().context_length, 64);
    assert_eq!(llama.with(json!({"partial_rotary_factor": 0.5})).unwrap().rotary.dims, 8);
    let gelu = llama.with(json!({"hidden_act": "gelu_pytorch_tanh"})).unwrap();
    assert_eq!(gelu.activation, Activation::GeluTanh);
    assert_eq!(llama.with(json!({"head_dim": null})).unwrap().head_dim, 16);
    let qwen = Directory::new(TinyFamily::Qwen2);
    qwen.with(json!({"use_sliding_window": false, "sliding_window": 64})).unwrap();
    qwen.with(json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 2})).unwrap();
}

#[test]
fn configs_that_ask_for_more_are_refused_by_name() {
    let llama = Directory::new(TinyFamily::Llama);
    llama.check_refused(
        json!({"architectures": ["MixtralForCausalLM"]}),
        "\"MixtralForCausalLM\" is not supported",
    );
    llama.check_refused(json!({"architectures": null}), "key \"architectures\" is missing");
    llama.check_refused(json!({"architectures": "LlamaForCausalLM"}), "expected a list of strings");
    llama.check_refused(json!({"sliding_window": 128}), "a sliding attention window of 128 positions");
    llama.check_refused(
        json!({"layer_types": ["full_attention", "sliding_attention"]}),
        "\"sliding_attention\"",
    );
    llama.check_refused(
        json!({"rope_scaling": {"rope_type": "yarn", "factor": 4}}),
        "rotary scaling \"yarn\"",
    );
    llama.check_refused(
        json!({"rope_scaling": {"type": "dynamic", "factor": 4}}),
        "rotary scaling \"dynamic\"",
    );
    llama.check_refused(json!({"rope_scaling": {"type": "linear"}}), "\"rope_scaling.factor\" is missing");
    llama.check_refused(json!({"rope_scaling": {"type": "linear", "factor": -1}}), "scaling factor is -1");
    llama.check_refused(json!({"num_local_experts": 8}), "a mixture of experts (num_local_experts)");
    llama.check_refused(json!({"mlp_bias": true}), "mlp_bias = true is not supported");
    llama.check_refused(json!({"is_causal": false}), "later positions (is_causal = false) is not supported");
    llama.check_refused(
        json!({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}}),
        "rotary settings that differ by type of layer",
    );
    llama.check_refused(json!({"hidden_act": "xielu"}), "the activation \"xielu\"");
    llama.check_refused(json!({"quantization_config": {"quant_method": "fp8"}}), "quantised by \"fp8\"");
    llama.check_refused(json!({"hidden_size": null}), "key \"hidden_size\" is missing");
    llama.check_refused(
        json!({"hidden_size": -64}),
        "key \"hidden_size\" is -64, expected a non-negative integer",
    );
    llama.check_refused(json!({"hidden_size": 1e300}), "expected a non-negative integer");
    llama.check_refused(
        json!({"num_hidden_layers": u64::MAX}),
        "the number of layers is 18446744073709551615",
    );
    llama.check_refused(json!({"num_attention_heads": 0}), "the number of heads is 0");
    llama.check_refused(json!({"num_attention_heads": 5, "head_dim": null}), "a divisor of hidden_size");
    llama.check_refused(json!({"num_key_value_heads": 0}), "key-value heads is 0");
    llama.check_refused(json!({"partial_rotary_factor": 2.0}), "above 0 and at most 1");
    let qwen = Directory::new(TinyFamily::Qwen2);
    qwen.check_refused(json!({"use_sliding_window": true, "sliding_window": 64}), "window of 64 positions");
    qwen.check_refused(json!({"architectures": ["Qwen2MoeForCausalLM"]}), "\"Qwen2MoeForCausalLM\" is not");
}

#[test]
fn tensors_that_do_not_fit_the_config_are_refused() {
    let llama = Directory::new(TinyFamily::Llama);
    let embedding = "tensor \"model.embed_tokens.weight\" has shape [320, 64], expected [321, 64]";
    llama.check_refused(json!({"vocab_size": 321}), embedding);
    llama.check_refused(
        json!({"num_hidden_layers": 3}),
        "has no tensor \"model.layers.2.input_layernorm.weight\"",
    );
    llama.check_refused(json!({"num_hidden_layers": 1}), "tensor \"model.layers.1.");
    llama.check_refused(
        json!({"attention_bias": true}),
        "has no tensor \"model.layers.0.self_attn.q_proj.bias\"",
    );
    llama.check_refused(
        json!({"num_key_value_heads": 4}),
        "k_proj.weight\" has shape [32, 64], expected [64, 64]",
    );
    let qwen3 = Directory::new(TinyFamily::Qwen3);
    qwen3.check_refused(json!({"architectures": ["LlamaForCausalLM"]}), "k_norm.weight\" has no role");
}

#[test]
fn a_head_beside_a_tied_embedding_is_used_unless_it_is_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).head(TinyHead::Separate).write_directory(folder.path()).unwrap();
    let config = folder.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut settings: Value = serde_json::from_str(&text).unwrap();
    settings["tie_word_embeddings"] = true.into();
    fs::write(&config, settings.to_string()).unwrap();
    let has_head = || {
        let files = ModelFiles::open(folder.path()).unwrap();
        let (family, spec) = read_spec(&files).unwrap();
        DecoderTensors::find(&files, family, &spec).unwrap().head.is_some()
    };
    assert!(has_head());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let offset = |name: &str, end: usize| data + header[name]["data_offsets"][end].as_u64().unwrap() as usize;
    let embedding = "model.embed_tokens.weight";
    bytes.copy_within(offset(embedding, 0)..offset(embedding, 1), offset("lm_head.weight", 0));
    fs::write(&weights, bytes).unwrap();
    assert!(!has_head());
}

#[test]
fn gguf_variants_are_read() {
    let llama = Gguf::new(TinyModel::new(TinyFamily::Llama));
    let spec = llama.with(|metadata, _| {
        metadata.insert("llama.rope.scaling.type", "linear");
        metadata.insert("llama.rope.scaling.factor", 4.0f32);
        metadata.insert("llama.attention.scale", 0.5f32);
    });
    let spec = spec.unwrap();
    assert_eq!(spec.rotary.scaling, RotaryScaling::Linear { factor: 4.0 });
    assert_eq!(spec.attention_scale, 0.5);
    let factors = [1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 8.0];
    let spec = llama.with(|_, tensors| tensors.push(vector("rope_freqs.weight", &factors))).unwrap();
    assert_eq!(spec.rotary.scaling, RotaryScaling::Factors(factors.to_vec()));
    let spec = llama.with(|_, tensors| {
        for layer in 0..2 {
            for (name, length) in [("attn_q", 64), ("attn_k", 32), ("attn_v", 32), ("attn_output", 64)] {
                tensors.push(vector(&format!("blk.{layer}.{name}.bias"), &vec![0.5; length]));
            }
        }
    });
    let spec = spec.unwrap();
    assert!(spec.qkv_bias && spec.output_bias);
}

#[test]
fn gguf_files_that_ask_for_more_are_refused_by_name() {
    let llama = Gguf::new(TinyModel::new(TinyFamily::Llama));
    let key = |key: &'static str, value: f32, expected: &str| {
        llama.check_refused(|metadata, _| metadata.insert(key, value), expected);
    };
    key("llama.logit_scale", 2.0, "llama.logit_scale is not supported");
    key("llama.attention.clamp_kqv", 8.0, "llama.attention.clamp_kqv is not supported");
    key("llama.rope.freq_base", f32::NAN, "the rotary base is NaN");
    key("llama.block_count", 2.0, "key \"llama.block_count\" is a float");
    let refused = |change: fn(&mut Metadata), expected: &str| {
        llama.check_refused(|metadata, _| change(metadata), expected);
    };
    refused(
        |m| m.insert("general.architecture", "gemma3"),
        "\"gemma3\" is not supported; supported are llama, ",
    );
    refused(|m| m.insert("general.type", "adapter"), "a file of type \"adapter\"");
    refused(|m| m.insert("llama.expert_count", 8u32), "a mixture of 8 experts");
    refused(|m| m.insert("llama.attention.sliding_window", 128u32), "window of 128 positions");
    refused(|m| m.insert("llama.rope.scaling.type", "yarn"), "rotary scaling \"yarn\"");
    refused(|m| m.insert("llama.use_parallel_residual", true), "a parallel residual");
    refused(|m| m.insert("llama.attention.value_length", 32u32), "a value length of 32");
    refused(|m| m.insert("llama.attention.head_count", 0u32), "the number of heads is 0");
    refused(|m| m.insert("llama.block_count", u32::MAX), "the number of layers is 4294967295");
    refused(|m| m.insert("llama.attention.head_count_kv", [2i32, 2].as_slice()), "is an array of integers");
    let mut without = Gguf::new(TinyModel::new(TinyFamily::Llama));
    without.metadata = Metadata::default();
    assert!(without.load().unwrap_err().contains("\"general.architecture\" is missing"));
}

#[test]
fn tensors_that_do_not_fit_the_metadata_are_refused() {
    let llama = Gguf::new(TinyModel::new(TinyFamily::Llama).weight_type(WeightType::Q8_0));
    llama.check_refused(
        |_, tensors| tensors.retain(|one| one.name != "token_embd.weight"),
        "no tensor \"token_embd",
    );
    llama.check_refused(
        |_, tensors| tensors.retain(|one| one.name != "blk.1.ffn_up.weight"),
        "\"blk.1.ffn_up.weight\"",
    );
    llama.check_refused(
        |_, tensors| tensors.push(vector("blk.0.extra", &[1.0])),
        "\"blk.0.extra\" has no role",
    );
    let rope =
        |_: &mut Metadata, tensors: &mut Vec<TensorData>| tensors.push(vector("rope_freqs.weight", &[1.0]));
    llama.check_refused(rope, "the number of rotary factors is 1");
    llama.check_refused(
        |_, tensors| {
            let (name, dtype) = ("rope_freqs.weight".into(), WeightType::Q8_0);
            tensors.push(TensorData { name, dtype, shape: vec![64], bytes: vec![0; 68] });
        },
        "rope_freqs.weight of type Q8_0 is not supported",
    );
    llama.check_refused(
        |_, tensors| {
            let norm = tensors.iter_mut().find(|one| one.name == "output_norm.weight").unwrap();
            (norm.dtype, norm.bytes) = (WeightType::Q8_0, vec![0; 68]);
        },
        "has type Q8_0, expected F32, F16 or BF16",
    );
    llama.check_refused(
        |_, tensors| {
            let embedding = tensors.iter_mut().find(|one| one.name == "token_embd.weight").unwrap();
            embedding.shape[0] = 319;
            embedding.bytes.truncate(319 * 68);
        },
        "has 320 tokens, the embedding only 319 rows",
    );
}
