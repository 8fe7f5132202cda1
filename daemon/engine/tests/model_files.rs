//! Model files against an independent reader (candle), and the real models of the tests' cache.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod models;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::Content;
use models::{QWEN_CODER, SMOLLM2, STORIES, cached};
use ostro_engine::model::families::read_spec;
use ostro_engine::model::roles::DecoderTensors;
use ostro_engine::model::spec::{DecoderSpec, RotaryStyle};
use ostro_engine::tiny::{TinyFamily, TinyModel};
use ostro_engine::weights::{GgufFile, ModelFiles, WeightType};

fn spec(files: &ModelFiles) -> DecoderSpec {
    let (family, spec) = read_spec(files).unwrap();
    let tensors = DecoderTensors::find(files, family, &spec).unwrap();
    assert_eq!(tensors.layers.len(), spec.layers);
    assert_eq!(tensors.head.is_none(), spec.tied_head);
    for name in files.tensor_names() {
        assert_eq!(files.tensor(name).unwrap().first_non_finite(), None, "{name}");
    }
    spec
}

/// Names and shapes of all tensors, and the numbers of one tensor of each type.
fn check_against_candle(path: &Path) {
    let ours = GgufFile::open(path).unwrap();
    let mut file = File::open(path).unwrap();
    let theirs = Content::read(&mut file).unwrap();
    let mut names: Vec<_> = theirs.tensor_infos.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert!(ours.tensor_names().eq(names));
    assert_eq!(ours.metadata().keys().count(), theirs.metadata.len());
    let mut seen: Vec<WeightType> = Vec::new();
    for name in ours.tensor_names() {
        let view = ours.tensor(name).unwrap();
        assert_eq!(view.shape, theirs.tensor_infos[name].shape.dims(), "{name}");
        if seen.contains(&view.dtype) {
            continue;
        }
        seen.push(view.dtype);
        let tensor = theirs.tensor(&mut file, name, &Device::Cpu).unwrap();
        let expected: Vec<f32> =
            tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let found = view.to_f32();
        // The readers may differ in the last bit: one multiplies scale by scale before the integer.
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-6 * b.abs().max(1e-3);
        assert_eq!(
            found.iter().zip(&expected).filter(|&pair| differs(pair)).count(),
            0,
            "{name} {}",
            view.dtype
        );
    }
}

#[test]
fn candle_reads_the_same_from_tiny_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    for weight_type in
        [WeightType::F32, WeightType::F16, WeightType::BF16, WeightType::Q8_0, WeightType::Q4_1]
    {
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Qwen3).weight_type(weight_type).write_gguf(&path).unwrap();
        check_against_candle(&path);
    }
}

#[test]
fn candle_reads_the_same_from_tiny_directories() {
    for weight_type in [WeightType::F32, WeightType::F16, WeightType::BF16] {
        let folder = tempfile::tempdir().unwrap();
        TinyModel::new(TinyFamily::Qwen2).weight_type(weight_type).write_directory(folder.path()).unwrap();
        let ours = ModelFiles::open(folder.path()).unwrap();
        let theirs =
            candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
        let theirs: BTreeMap<_, _> = theirs.into_iter().collect();
        assert!(ours.tensor_names().into_iter().eq(theirs.keys().map(String::as_str)));
        for (name, tensor) in theirs {
            let view = ours.tensor(&name).unwrap();
            assert_eq!(view.shape, tensor.dims(), "{name}");
            let tensor = tensor.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap();
            assert_eq!(view.to_f32(), tensor.to_vec1::<f32>().unwrap(), "{name}");
        }
    }
}

#[test]
fn smollm2_is_read() {
    let Some(path) = SMOLLM2.path() else { return };
    check_against_candle(&path);
    let spec = spec(&ModelFiles::open(&path).unwrap());
    assert_eq!((spec.layers, spec.hidden, spec.intermediate), (30, 576, 1536));
    assert_eq!((spec.heads, spec.kv_heads, spec.head_dim), (9, 3, 64));
    assert_eq!((spec.vocab, spec.context_length), (49_152, 8192));
    assert_eq!((spec.rotary.theta, spec.rotary.style), (100_000.0, RotaryStyle::Interleaved));
    assert!(spec.tied_head && !spec.qkv_bias && !spec.qk_norm);
}

#[test]
fn qwen2_5_coder_is_read() {
    let Some(path) = QWEN_CODER.path() else {
        return;
    };
    check_against_candle(&path);
    // A directory with one GGUF file is as good as the file.
    let spec = spec(&ModelFiles::open(path.parent().unwrap()).unwrap());
    assert_eq!((spec.layers, spec.hidden, spec.intermediate), (24, 896, 4864));
    assert_eq!((spec.heads, spec.kv_heads, spec.head_dim), (14, 2, 64));
    assert_eq!((spec.vocab, spec.context_length), (151_936, 32_768));
    assert_eq!((spec.rotary.theta, spec.rotary.style), (1_000_000.0, RotaryStyle::Halves));
    assert!(!spec.tied_head && spec.qkv_bias && !spec.output_bias && !spec.qk_norm);
}

#[test]
fn stories15m_is_read() {
    let Some(path) = STORIES.path() else { return };
    let spec = spec(&ModelFiles::open(&path).unwrap());
    assert_eq!((spec.layers, spec.hidden, spec.heads, spec.head_dim), (6, 288, 6, 48));
    assert_eq!((spec.vocab, spec.context_length), (32_000, 256));
    assert!(spec.tied_head);
    assert_eq!(spec.rotary.style, RotaryStyle::Halves);
}

#[test]
fn vocabularies_without_weights_open_and_are_no_models() {
    let Some(folder) = cached("vocabularies") else { return };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    assert!(!files.is_empty());
    for path in files {
        let file = GgufFile::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            file.metadata()
                .strings("tokenizer.ggml.tokens")
                .unwrap()
                .is_some_and(|tokens| tokens.len() > 1000)
        );
        assert!(read_spec(&ModelFiles::Gguf(file)).is_err(), "{}", path.display());
    }
}
