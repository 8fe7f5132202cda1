//! Measures a loaded model in process: prompts alone, with their operations, and decoding at depths and batch sizes, each
//! beside what a plain read of the bytes it moves takes. Plain numbers for people and JSON.
//!
//! Random tokens, no end tokens. A prompt is never computed from another's cache; what lies before a decode
//! measurement may be.

mod measure;
mod options;
mod summary;

use serde::Serialize;

use crate::engine::{Engine, SubmitError};
use crate::info::ModelInfo;
use measure::Measure;

pub use options::{BenchOption, BenchOptions, OptionProblem};
pub use summary::Percentiles;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    pub model: ModelInfo,
    pub prefill: Vec<PrefillResult>,
    pub decode: Vec<DecodeResult>,
}

/// One prompt alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrefillResult {
    pub prompt_tokens: u32,
    /// By the median of `seconds`.
    pub tokens_per_second: f64,
    /// From the prompt's first step to the first token, of the repetitions.
    pub seconds: Percentiles,
    /// From submission to the first token, of the repetitions.
    pub first_token_seconds: Percentiles,
    /// That the prompt took.
    pub steps: u64,
    /// Weights, and the keys and values of the whole prompt: what its last step reads at least. Kernels read some of it
    /// several times, and steps before the last have fewer keys and no head.
    pub bytes_per_step: u64,
    /// Two for each parameter of the layers and token. Attention and head come on top; that most of the last layer is
    /// left out for tokens which nothing is sampled from is not subtracted.
    pub operations: u64,
    /// By the median of `seconds`.
    pub operations_per_second: f64,
}

/// Some sequences at once, all of them decoding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecodeResult {
    pub sequences: u32,
    /// Tokens of each sequence before the first that is measured.
    pub depth: u32,
    pub decode_tokens: u32,
    /// Of all sequences; the median of the repetitions.
    pub tokens_per_second: f64,
    /// From token to token, of all steps of all repetitions.
    pub step_seconds: Percentiles,
    /// Of the steps' time, what was not spent in the model: sampling, taking commands, scheduling, delivery. The median
    /// of the repetitions.
    pub overhead_fraction: f64,
    /// Weights, and the keys and values of all sequences, that the middle step reads.
    pub bytes_per_step: u64,
    /// By the median step.
    pub bytes_per_second: f64,
    /// Of a plain read of as many bytes by as many threads, in turn with the repetitions. Beyond 1 GiB the same memory is
    /// read again.
    pub ceiling_bytes_per_second: f64,
    pub ceiling_share: f64,
}

/// Told after each measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum BenchResult {
    Prefill(PrefillResult),
    Decode(DecodeResult),
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Option(#[from] OptionProblem),
    #[error("the engine refused a sequence")]
    Submit(#[from] SubmitError),
    #[error("a sequence failed: {0}")]
    Failed(String),
    #[error("{sequences} sequences of {depth} tokens never decoded all at once")]
    NeverTogether { sequences: u32, depth: u32 },
    #[error("cannot measure a plain read")]
    PlainRead(#[from] ostro_kernels::cpu::memory::AllocError),
}

/// Measures an engine that does nothing else.
pub fn bench(
    engine: &Engine,
    options: &BenchOptions,
    progress: &mut dyn FnMut(&BenchResult),
) -> Result<BenchReport, BenchError> {
    options.check(engine.info())?;
    let mut measure = Measure::new(engine, options);
    let mut report = BenchReport { model: engine.info().clone(), prefill: Vec::new(), decode: Vec::new() };
    for &prompt_tokens in &options.prompt_tokens {
        let result = measure.prefill(prompt_tokens)?;
        progress(&BenchResult::Prefill(result.clone()));
        report.prefill.push(result);
    }
    let depths = options.depths.iter().filter(|_| options.decode_tokens > 0);
    for (&depth, &sequences) in depths.flat_map(|depth| options.sequences.iter().map(move |n| (depth, n))) {
        let result = measure.decode(depth, sequences)?;
        progress(&BenchResult::Decode(result.clone()));
        report.decode.push(result);
    }
    Ok(report)
}
