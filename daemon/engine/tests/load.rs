//! Loading through the public face: both file forms, options, memory, damaged weights.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use ostro_engine::memory::Memory;
use ostro_engine::request::{Generation, Sampling, StopRules, TokenEvent, TokenId};
use ostro_engine::tiny::{TinyFamily, TinyHead, TinyModel};
use ostro_engine::{
    CacheSize, CacheType, DeviceChoice, Engine, EngineOptions, Isa, LoadError, LoadProgress, LoadStage,
    ModelInfo,
};
use tempfile::TempDir;

fn tiny_gguf(folder: &TempDir, model: TinyModel) -> EngineOptions {
    let path = folder.path().join("tiny.gguf");
    model.write_gguf(&path).unwrap();
    options(&path)
}

fn options(path: &Path) -> EngineOptions {
    let mut options = EngineOptions::new(path);
    options.threads = Some(1);
    options.cache.size = CacheSize::ContextLen(1024);
    options
}

fn load(options: EngineOptions) -> Result<Engine, LoadError> {
    Engine::load(options, &|_| ())
}

fn answer(engine: &Engine, prompt: &[TokenId]) -> Vec<TokenId> {
    let generation = Generation {
        prompt: prompt.into(),
        sampling: Sampling::greedy(),
        stop: StopRules { max_tokens: 20, ignore_eos: true, ..StopRules::default() },
        logprobs: None,
        cache_salt: 0,
    };
    let mut stream = engine.submit(generation).unwrap();
    let mut ids = Vec::new();
    while let Some(TokenEvent::Token(token)) = stream.blocking_next() {
        ids.push(token.id);
    }
    ids
}

#[test]
fn both_forms_of_a_model_answer_alike() {
    for family in [TinyFamily::Llama, TinyFamily::Qwen2, TinyFamily::Qwen3] {
        let folder = tempfile::tempdir().unwrap();
        let model = TinyModel::new(family);
        let gguf = load(tiny_gguf(&folder, model)).unwrap();
        let path = folder.path().join("directory");
        model.write_directory(&path).unwrap();
        let directory = load(options(&path)).unwrap();
        let ids = answer(&gguf, &[5, 6, 7, 8, 9]);
        assert_eq!(ids.len(), 20);
        assert_eq!(answer(&directory, &[5, 6, 7, 8, 9]), ids, "{family:?}");
        let shape = |info: &ModelInfo| (info.parameters, info.layers, info.vocab_size, info.weight_bytes);
        assert_eq!(shape(directory.info()), shape(gguf.info()));
    }
}

#[test]
fn cache_types_all_answer() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = [CacheType::F32, CacheType::F16, CacheType::Bf16].map(|cache_type| {
        let mut options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Llama));
        options.cache.cache_type = cache_type;
        let engine = load(options).unwrap();
        assert_eq!(answer(&engine, &[1, 2, 3]).len(), 20);
        engine.info().cache.bytes
    });
    assert_eq!([bytes[0], bytes[1]], [2 * bytes[2], bytes[2]]);
}

#[test]
fn progress_reaches_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let seen: Mutex<Vec<LoadProgress>> = Mutex::default();
    let options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Qwen2));
    Engine::load(options, &|progress| seen.lock().unwrap().push(progress)).unwrap();
    let seen = seen.into_inner().unwrap();
    let mut stages: Vec<LoadStage> = seen.iter().map(|progress| progress.stage).collect();
    stages.dedup();
    assert_eq!(stages, [LoadStage::Read, LoadStage::Pack, LoadStage::Cache, LoadStage::Ready]);
    let packed: Vec<&LoadProgress> =
        seen.iter().filter(|progress| progress.stage == LoadStage::Pack).collect();
    assert!(packed.windows(2).all(|pair| pair[0].done < pair[1].done));
    let last = packed.last().unwrap();
    assert_eq!(last.done, last.total);
}

#[test]
fn parameters_of_layers_are_all_but_vocabulary_head_and_last_norm() {
    let folder = tempfile::tempdir().unwrap();
    for (head, matrices) in [(TinyHead::Tied, 1), (TinyHead::Separate, 2)] {
        let options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Qwen2).head(head));
        let info = ostro_engine::load::load(&options, &|_| ()).unwrap().info;
        let width = u64::from(info.hidden_size);
        let others = matrices * u64::from(info.vocab_size) * width + width;
        assert_eq!(info.parameters - info.layer_parameters, others, "{head:?}");
    }
}

#[test]
fn chosen_instruction_set_is_that_of_sampling_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Llama));
    options.device = DeviceChoice::Cpu;
    for (chosen, expected) in [(None, Isa::detect()), (Some(Isa::PORTABLE), Isa::PORTABLE)] {
        options.isa = chosen;
        let parts = ostro_engine::load::load(&options, &|_| ()).unwrap();
        assert_eq!((parts.isa, parts.info.instruction_set.as_str()), (expected, expected.name()));
    }
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Llama));
    type Change = fn(&mut EngineOptions);
    let cases: [(Change, &str); 8] = [
        (|options| options.threads = Some(0), "threads is 0, allowed is 1 to 1024"),
        (|options| options.cache.block_size = 17, "block_size is 17, allowed is 16, 32 or 64"),
        (|options| options.schedule.sequences_max = 0, "max_seqs is 0, allowed is 1 to 65536"),
        (
            |options| options.schedule.tokens_per_step = Some(1 << 30),
            "tokens_per_step is 1073741824, allowed is 1 to 65536",
        ),
        (
            |options| options.context_len = Some(513),
            "context_len is 513, allowed is 2 to 512, what the model was trained for",
        ),
        (
            |options| options.cache.size = CacheSize::MemoryFraction(2.0),
            "memory_fraction is 2000 thousandths, allowed is more than 0 and at most 1000",
        ),
        (
            |options| options.schedule.waiting_max = usize::MAX,
            "waiting_max is 18446744073709551615, allowed is at most 1048576",
        ),
        (
            |options| options.schedule.prompt_lookup_n = Some(65),
            "prompt_lookup_n is 65, allowed is at most 64",
        ),
    ];
    for (change, message) in cases {
        let mut changed = options.clone();
        change(&mut changed);
        assert_eq!(load(changed).unwrap_err().to_string(), message);
    }
}

#[test]
fn cache_beyond_the_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Llama));
    for size in [CacheSize::Megabytes(1 << 40), CacheSize::ContextLen(1 << 50)] {
        options.cache.size = size;
        let error = load(options.clone()).unwrap_err();
        assert!(matches!(error, LoadError::Memory(_)), "{error}");
    }
}

#[test]
fn models_count_until_they_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Llama));
    options.device = DeviceChoice::Cpu;
    let ledger = options.memory.clone();
    let promised = || {
        // As if this process had touched nothing.
        let (available_bytes, resident_bytes) = (Some(u64::MAX), Some(0));
        let memory = Memory { available_bytes, resident_bytes, ..Memory::default() };
        u64::MAX - ledger.left(memory).available_bytes.unwrap()
    };
    let engine = load(options).unwrap();
    let info = engine.info();
    assert!(promised() > info.weight_bytes + info.cache.bytes);
    drop(engine);
    assert_eq!(promised(), 0);
}

#[test]
fn cache_limits_the_context() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = tiny_gguf(&folder, TinyModel::new(TinyFamily::Llama));
    options.cache.size = CacheSize::ContextLen(64);
    let engine = load(options).unwrap();
    assert_eq!((engine.info().cache.blocks, engine.info().context_len), (2, 65));
    assert_eq!(engine.info().model_context_len, 512);
}

#[test]
fn weight_that_is_not_a_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).write_directory(folder.path()).unwrap();
    let file = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let error = load(options(folder.path())).unwrap_err();
    assert!(error.to_string().contains("a number that is not finite"), "{error}");
}

#[test]
fn generation_settings_of_other_programs_stop_no_model() {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).write_directory(folder.path()).unwrap();
    let settings =
        r#"{"top_k": -1, "temperature": 0.5, "bos_token_id": -1, "pad_token_id": 50.0, "eos_token_id": 2}"#;
    fs::write(folder.path().join("generation_config.json"), settings).unwrap();
    let engine = load(options(folder.path())).unwrap();
    assert_eq!(engine.text().eos_ids(), [2]);
}

#[test]
fn absent_file_is_named() {
    let error = load(options(Path::new("/nowhere/model.gguf"))).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/model.gguf");
    assert!(error.source().is_some());
}
