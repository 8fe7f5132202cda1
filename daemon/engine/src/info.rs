//! What a loaded model is, and how far a loading one has come: plain data for people and metrics.

use serde::Serialize;

use crate::options::CacheType;

/// A loaded model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelInfo {
    /// As the file names it: `llama`, `qwen2`, `qwen3`.
    pub architecture: String,
    /// The model's own name, where its file has one.
    pub name: Option<String>,
    /// The number format of most weights, such as `Q4_1`.
    pub weight_type: String,
    pub parameters: u64,
    /// Of them those of the layers, by which every token is multiplied: without vocabulary and head.
    pub layer_parameters: u64,
    pub layers: u32,
    pub hidden_size: u32,
    pub vocab_size: u32,
    #[serde(skip)]
    pub published_sampling: PublishedSampling,
    /// Most tokens of one sequence, prompt and answer together, under the engine's options.
    pub context_len: u32,
    /// What the model was trained for.
    pub model_context_len: u32,
    /// Memory of the packed weights.
    pub weight_bytes: u64,
    /// What of it a step reads: all but an embedding that is not the head too.
    pub step_weight_bytes: u64,
    pub cache: CacheInfo,
    pub threads: usize,
    /// Instruction set of the kernels, such as `avx512`.
    pub instruction_set: String,
    pub device: DeviceInfo,
    /// What the device's memory gives by its data sheet, where it has one.
    pub nominal_bytes_per_second: Option<f64>,
    pub load_seconds: f64,
}

/// The sampling that the model's makers suggest in the weights' file; values are not checked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublishedSampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<f64>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
}

/// What a model runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    pub kind: DeviceKind,
    /// A GPU's name; of the CPU the kernels' instruction set.
    pub name: String,
    /// Of a GPU, as NVIDIA's management library has it: `GPU-...`.
    pub uuid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Cpu,
    Cuda,
}

impl DeviceInfo {
    pub fn cpu(instruction_set: &str) -> DeviceInfo {
        DeviceInfo { kind: DeviceKind::Cpu, name: instruction_set.to_owned(), uuid: None }
    }
}

impl DeviceKind {
    /// As it is written for people and programs: `cpu`, `cuda`.
    pub fn name(self) -> &'static str {
        match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda => "cuda",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CacheInfo {
    pub cache_type: CacheType,
    /// Tokens a block.
    pub block_size: u32,
    pub blocks: u32,
    pub bytes: u64,
}

/// Told while a model loads; `done` and `total` are bytes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LoadProgress {
    pub stage: LoadStage,
    pub done: u64,
    pub total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadStage {
    /// Headers, vocabulary, chat template.
    Read,
    /// Weights are packed for the kernels.
    Pack,
    /// The key-value cache is allocated.
    Cache,
    Ready,
}
