//! The seam between the decoder and a device: about fifteen operations on opaque buffers.
//!
//! Operations of a step may be queued by a device and fail later: `read` waits for them and reports. Every
//! implementation keeps the rule that a row's arithmetic never depends on the other rows of the batch.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;

pub use ostro_kernels::cpu::attention::{HeadShape, RowPlace};
pub use ostro_kernels::cpu::kv_cache::{CacheType, KvCacheShape};
use ostro_kernels::cpu::pool::ThreadError;

use crate::forward::{ForwardError, Logits};
use crate::info::DeviceInfo;
use crate::memory::Memory;
use crate::model::spec::{Activation, DecoderSpec, Rotary};
use crate::request::TokenId;
use crate::schedule::BlockCopy;
use crate::weights::TensorView;

pub trait Backend {
    /// A weight matrix of finite numbers in the layout that the device's kernels want; without loss.
    type Matrix;
    /// The matrix of logits, and the table of embeddings where there is no other; without loss.
    type Head;
    /// A table of embeddings of a model whose head is another matrix; without loss.
    type Embedding;
    /// A norm's weight or a bias, f32.
    type Vector;
    /// Activations, one row a token, f32.
    type Rows;
    /// Angles of all positions.
    type Rotary;
    /// Keys and values of all layers, in blocks.
    type Cache;

    /// Such as `avx512`, or a GPU's name and compute capability.
    fn instruction_set(&self) -> String;
    fn device(&self) -> DeviceInfo;
    fn threads(&self) -> usize;
    /// What suits the device.
    fn step_tokens(&self) -> StepTokens;
    /// What the device's memory can give by its data sheet; `None` where only a measurement tells.
    fn nominal_bytes_per_second(&self) -> Option<f64>;
    /// Of the device, before anything is loaded onto it.
    fn memory(&self) -> Result<Memory, BackendError>;
    /// What the device's kernels cannot run, told before anything is loaded.
    fn check(&self, spec: &DecoderSpec, cache_type: CacheType) -> Result<(), BackendError>;
    /// Computes prompt tokens otherwise than generated ones, in the last bits.
    fn has_sources_apart(&self) -> bool;

    /// What a tensor takes of the device's memory, told before it is loaded.
    fn tensor_bytes(&self, tensor: &TensorView<'_>) -> u64;
    fn load_matrix(&mut self, tensor: &TensorView<'_>) -> Result<Self::Matrix, BackendError>;
    fn matrix_bytes(&self, matrix: &Self::Matrix) -> u64;
    fn load_head(&mut self, tensor: &TensorView<'_>) -> Result<Self::Head, BackendError>;
    fn head_bytes(&self, head: &Self::Head) -> u64;
    /// `head` is loaded too, and given to `embed` with the table.
    fn load_embedding(
        &mut self,
        table: &TensorView<'_>,
        head: &TensorView<'_>,
    ) -> Result<Self::Embedding, BackendError>;
    fn embedding_bytes(&self, table: &Self::Embedding) -> u64;
    /// An error if they cannot be the halves of a `gated_linear`.
    fn check_gated(&self, gate: &Self::Matrix, up: &Self::Matrix) -> Result<(), BackendError>;
    fn load_vector(&mut self, values: Vec<f32>) -> Result<Self::Vector, BackendError>;
    fn load_rotary(&mut self, rotary: &Rotary, positions: usize) -> Result<Self::Rotary, BackendError>;
    fn allocate_rows(
        &mut self,
        rows: usize,
        width: usize,
        rows_use: RowsUse,
    ) -> Result<Self::Rows, BackendError>;
    /// What `allocate_rows` takes.
    fn rows_bytes(&self, rows: usize, width: usize, rows_use: RowsUse) -> u64;
    /// What a block of the cache takes over all layers.
    fn block_bytes(&self, shape: &KvCacheShape) -> u64;
    fn allocate_cache(&mut self, shape: &KvCacheShape) -> Result<Self::Cache, BackendError>;

    /// What `reserve` and `load_rotary` take, at most, once `matrices`, the layers', are loaded. The CPU knows the matrices
    /// that it has loaded.
    fn reserved_bytes(&self, limits: &StepLimits, rotary: &Rotary, matrices: &[&TensorView<'_>]) -> u64;
    /// Allocates what steps need beside rows and cache, so that a step allocates nothing. All matrices are loaded.
    fn reserve(&mut self, limits: &StepLimits) -> Result<(), BackendError>;

    /// Whether a block's keys and values are copied sooner than those of some tokens are computed.
    fn copies_blocks(&self) -> bool;
    /// Before a step, where `copies_blocks` says that it is done.
    fn copy_block(&mut self, cache: &mut Self::Cache, copy: BlockCopy);

    /// Begins a step. On `Work::Operations` its operations follow; a device that has recorded them already says
    /// `Work::Replayed`, and none follow. `read` ends it.
    fn begin(&mut self, batch: &Batch<'_>) -> Result<Work, ForwardError>;
    /// After the operations of a step. On `Queued::Again` a device could not record them: all follow once more.
    fn queued(&mut self) -> Queued;
    /// The embedding of every token; sets the number of rows of `out`, as all operations do.
    fn embed(&mut self, from: Embeddings<'_, Self>, batch: &Batch<'_>, out: &mut Self::Rows);
    fn linear(&mut self, input: Normed<'_, Self>, projection: &Projection<'_, Self>, out: &mut Self::Rows);
    /// Adds to `out`.
    fn linear_add(&mut self, input: Plain<'_, Self>, projection: &Projection<'_, Self>, out: &mut Self::Rows);
    /// `activation(gate x) * (up x)`
    fn gated_linear(&mut self, input: Normed<'_, Self>, gated: &Gated<'_, Self>, out: &mut Self::Rows);
    /// RMS norm of every query and key head, in place.
    fn norm_heads(&mut self, qkv: &mut Self::Rows, shape: &HeadShape, norms: &HeadNorms<'_, Self>);
    /// Turns queries and keys by their positions, in place, and writes keys and values to the cache.
    fn rotary_and_store(
        &mut self,
        qkv: &mut Self::Rows,
        place: &LayerPlace<'_, Self>,
        cache: &mut Self::Cache,
    );
    fn attention(
        &mut self,
        qkv: &Self::Rows,
        place: &LayerPlace<'_, Self>,
        cache: &Self::Cache,
        out: &mut Self::Rows,
    );
    /// Keeps only the listed rows, which ascend, at the front of each: nobody reads the others any more. A backend may
    /// leave them where they are, and keep all.
    fn keep_rows(&mut self, rows: [&mut Self::Rows; 2], kept: &[u32]) -> Kept;
    /// Logits of the batch's sampled rows, in their order; or only where the largest ones are, if nothing else is wanted.
    fn logits(&mut self, input: Normed<'_, Self>, head: &Self::Head, out: &mut Self::Rows);
    /// Waits for what was queued and gives the logits.
    fn read<'a>(&'a mut self, logits: &'a mut Self::Rows) -> Result<Logits<'a>, ForwardError>;
}

/// The rows of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTokens {
    pub all: usize,
    /// Of prompts, beside decoding.
    pub beside_decode: usize,
    /// Guessed, where a step only decodes.
    pub draft: usize,
}

/// What rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsUse {
    /// Added to, and normalised into products.
    Residual,
    /// What products give.
    Sums,
    /// Only ever the input of products.
    Factors,
}

/// The largest step.
#[derive(Clone, Copy, Debug)]
pub struct StepLimits {
    pub rows: usize,
    pub sampled: usize,
    pub positions: usize,
    pub block_size: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    pub shape: HeadShape,
}

/// What became of rows that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Listed,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Operations,
    Replayed,
}

/// What became of a step's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    UnderWay,
    Again,
}

/// The rows of a step.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub tokens: &'a [TokenId],
    /// Rows of a sequence are consecutive, with consecutive positions.
    pub places: &'a [RowPlace],
    /// By sequence: position `p` lives in block `p / block_size`.
    pub block_tables: &'a [&'a [u32]],
    /// Rows whose logits are wanted.
    pub sampled: &'a [u32],
    /// Nothing but the tokens of these rows' largest logits is wanted.
    pub best_only: bool,
    /// Rows of prompt tokens, and all others.
    pub prompt: &'a [u32],
    pub generated: &'a [u32],
}

/// Where embeddings are read.
pub struct Embeddings<'a, B: Backend + ?Sized> {
    /// `None`: the head serves.
    pub table: Option<&'a B::Embedding>,
    pub head: &'a B::Head,
}

/// Rows of a step.
pub struct Plain<'a, B: Backend + ?Sized> {
    pub batch: &'a Batch<'a>,
    pub x: &'a B::Rows,
}

/// Rows of a step, normalised on the way into a product.
pub struct Normed<'a, B: Backend + ?Sized> {
    pub batch: &'a Batch<'a>,
    pub x: &'a B::Rows,
    pub weight: &'a B::Vector,
    pub eps: f32,
}

/// Matrices with the same input, their outputs side by side.
pub struct Projection<'a, B: Backend + ?Sized> {
    pub parts: &'a [&'a B::Matrix],
    pub bias: Option<&'a B::Vector>,
}

pub struct Gated<'a, B: Backend + ?Sized> {
    pub gate: &'a B::Matrix,
    pub up: &'a B::Matrix,
    pub activation: Activation,
}

pub struct HeadNorms<'a, B: Backend + ?Sized> {
    pub query: &'a B::Vector,
    pub key: &'a B::Vector,
    pub eps: f32,
}

/// Where and how a layer attends.
pub struct LayerPlace<'a, B: Backend + ?Sized> {
    pub batch: &'a Batch<'a>,
    pub shape: &'a HeadShape,
    pub rotary: &'a B::Rotary,
    pub layer: usize,
}

/// The device cannot hold something.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("cannot allocate {what}")]
    Allocate { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the threads that compute cannot start; fewer can be chosen by threads")]
    Threads(#[from] ThreadError),
    #[error("tensor {name:?} holds a number that is not finite, at byte {offset}")]
    NotFinite { name: String, offset: usize },
    #[error("{device} cannot run {what}; the CPU can (`--cpu`, or `cpu = true` in [models.device])")]
    Unsupported { device: String, what: String },
    #[error("the device failed")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot pack tensor {name:?}")]
    Pack { name: String, source: Box<dyn std::error::Error + Send + Sync> },
}
