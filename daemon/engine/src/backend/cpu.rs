//! The CPU as a backend: `ostro_kernels::cpu::ops::Cpu` behind the seam.

use ostro_kernels::cpu::attention::BatchView;
use ostro_kernels::cpu::embedding::{self, EmbeddingTable};
use ostro_kernels::cpu::head::Head;
use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::kv_cache::KvCache;
use ostro_kernels::cpu::ops::attention::AttentionInput;
use ostro_kernels::cpu::ops::linear::{
    GatedWeights, InputColumns, LinearInput, LinearWeights, Norm, Split, Store,
};
use ostro_kernels::cpu::ops::norm::HeadNorm;
use ostro_kernels::cpu::ops::rotary::RotaryStore;
use ostro_kernels::cpu::ops::scratch::ScratchLimits;
use ostro_kernels::cpu::ops::{Cpu, linear};
use ostro_kernels::cpu::pack::{MatrixBytes, PackError, PackedMatrix};
use ostro_kernels::cpu::rotary::{self, RotaryTable};
use ostro_kernels::cpu::rows::Rows;

use super::{
    Backend, BackendError, Batch, CacheType, Embeddings, Gated, HeadNorms, HeadShape, Kept, KvCacheShape,
    LayerPlace, Normed, Plain, Projection, Queued, RowsUse, StepLimits, StepTokens, Work,
};
use crate::forward::{Best, ForwardError, Logits};
use crate::info::DeviceInfo;
use crate::memory::Memory;
use crate::model::spec::{Activation, DecoderSpec, Rotary, RotaryStyle};
use crate::schedule::BlockCopy;
use crate::weights::TensorView;

/// Rows from which it takes less time to find where their largest logits are than to compute all.
const ESTIMATED_ROWS: usize = 4;

/// Used by one thread, which `reserve` pins.
pub struct CpuBackend {
    cpu: Cpu,
    /// Of the matrices loaded so far.
    columns: InputColumns,
    /// Of the step, where only these are wanted.
    best: Vec<Best>,
}

impl CpuBackend {
    pub fn new(isa: Isa, threads: usize) -> Result<Self, BackendError> {
        Ok(CpuBackend {
            cpu: Cpu::try_new(isa, threads)?,
            columns: InputColumns::default(),
            best: Vec::new(),
        })
    }

    fn scratch(&self, limits: &StepLimits) -> ScratchLimits {
        let StepLimits { rows, sampled, positions, block_size, hidden, shape } = *limits;
        let columns = InputColumns { normed: hidden, ..self.columns };
        ScratchLimits { rows, sampled, positions, block_size, shape, columns }
    }
}

impl Backend for CpuBackend {
    type Matrix = PackedMatrix;
    type Head = Head;
    type Embedding = EmbeddingTable;
    type Vector = Vec<f32>;
    type Rows = Rows;
    type Rotary = RotaryTable;
    type Cache = KvCache;

    fn instruction_set(&self) -> String {
        self.cpu.isa().name().to_owned()
    }

    fn device(&self) -> DeviceInfo {
        DeviceInfo::cpu(self.cpu.isa().name())
    }

    fn threads(&self) -> usize {
        self.cpu.threads()
    }

    /// More rows of a sequence than eight attend as prompts do, by tiles, of which a lone sequence has few.
    fn step_tokens(&self) -> StepTokens {
        StepTokens { all: 512, beside_decode: 128, draft: 7 }
    }

    fn nominal_bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn memory(&self) -> Result<Memory, BackendError> {
        Ok(Memory::of_host())
    }

    fn check(&self, _: &DecoderSpec, _: CacheType) -> Result<(), BackendError> {
        Ok(())
    }

    fn has_sources_apart(&self) -> bool {
        self.cpu.isa().has_matrix_unit()
    }

    /// An embedding may take less, a head a thousandth more.
    fn tensor_bytes(&self, tensor: &TensorView<'_>) -> u64 {
        let bytes = match tensor.shape.as_slice() {
            &[rows, columns] => PackedMatrix::bytes_of(tensor.dtype, rows, columns),
            _ => tensor.elements() * size_of::<f32>(),
        };
        bytes as u64
    }

    fn load_matrix(&mut self, tensor: &TensorView<'_>) -> Result<PackedMatrix, BackendError> {
        let matrix = PackedMatrix::pack(matrix_bytes(tensor), &mut self.cpu)
            .map_err(|error| pack_error(error, tensor))?;
        self.columns.add(&matrix);
        Ok(matrix)
    }

    fn load_embedding(
        &mut self,
        table: &TensorView<'_>,
        head: &TensorView<'_>,
    ) -> Result<EmbeddingTable, BackendError> {
        EmbeddingTable::load(matrix_bytes(table), matrix_bytes(head), &mut self.cpu)
            .map_err(|error| pack_error(error, table))
    }

    fn embedding_bytes(&self, table: &EmbeddingTable) -> u64 {
        table.bytes() as u64
    }

    fn matrix_bytes(&self, matrix: &PackedMatrix) -> u64 {
        matrix.bytes() as u64
    }

    fn load_head(&mut self, tensor: &TensorView<'_>) -> Result<Head, BackendError> {
        let head =
            Head::pack(matrix_bytes(tensor), &mut self.cpu).map_err(|error| pack_error(error, tensor))?;
        self.columns.add_head(&head);
        Ok(head)
    }

    fn head_bytes(&self, head: &Head) -> u64 {
        head.bytes() as u64
    }

    fn check_gated(&self, _: &PackedMatrix, _: &PackedMatrix) -> Result<(), BackendError> {
        Ok(())
    }

    fn load_vector(&mut self, values: Vec<f32>) -> Result<Vec<f32>, BackendError> {
        Ok(values)
    }

    fn load_rotary(&mut self, rotary: &Rotary, positions: usize) -> Result<RotaryTable, BackendError> {
        let style = match rotary.style {
            RotaryStyle::Halves => rotary::RotaryStyle::HalfSplit,
            RotaryStyle::Interleaved => rotary::RotaryStyle::Interleaved,
        };
        let frequencies: Vec<f64> = rotary.frequencies().into_iter().map(f64::from).collect();
        RotaryTable::new(&frequencies, style, 1.0, positions)
            .map_err(|source| BackendError::Allocate { what: "angles", source: source.into() })
    }

    fn allocate_rows(&mut self, rows: usize, width: usize, _: RowsUse) -> Result<Rows, BackendError> {
        Rows::try_new(rows, width)
            .map_err(|source| BackendError::Allocate { what: "activations", source: source.into() })
    }

    fn rows_bytes(&self, rows: usize, width: usize, _: RowsUse) -> u64 {
        Rows::bytes(rows, width)
    }

    fn block_bytes(&self, shape: &KvCacheShape) -> u64 {
        shape.bytes_per_block() as u64
    }

    fn reserved_bytes(&self, limits: &StepLimits, rotary: &Rotary, _: &[&TensorView<'_>]) -> u64 {
        let scratch = self.scratch(limits).bytes(self.cpu.isa(), self.cpu.threads());
        (scratch + RotaryTable::bytes(rotary.dims, limits.positions)) as u64
    }

    fn reserve(&mut self, limits: &StepLimits) -> Result<(), BackendError> {
        self.best.reserve(limits.sampled);
        let scratch = self.scratch(limits);
        self.cpu
            .reserve(&scratch)
            .map_err(|source| BackendError::Allocate { what: "what steps need", source: source.into() })?;
        // Not earlier: the threads of loading would inherit it.
        self.cpu.pin_caller();
        Ok(())
    }

    fn copies_blocks(&self) -> bool {
        true
    }

    fn copy_block(&mut self, cache: &mut KvCache, BlockCopy { from, to }: BlockCopy) {
        cache.copy_block(from, to);
    }

    fn begin(&mut self, _: &Batch<'_>) -> Result<Work, ForwardError> {
        Ok(Work::Operations)
    }

    fn queued(&mut self) -> Queued {
        Queued::UnderWay
    }

    fn allocate_cache(&mut self, shape: &KvCacheShape) -> Result<KvCache, BackendError> {
        KvCache::new(*shape)
            .map_err(|source| BackendError::Allocate { what: "the key-value cache", source: source.into() })
    }

    fn embed(&mut self, from: Embeddings<'_, Self>, batch: &Batch<'_>, out: &mut Rows) {
        let Embeddings { table, head } = from;
        self.cpu.embed(embedding::Embeddings { table, head: head.matrix() }, batch.tokens, out);
    }

    fn linear(&mut self, input: Normed<'_, Self>, projection: &Projection<'_, Self>, out: &mut Rows) {
        self.cpu.linear(normed(&input), weights(projection), out, Store::Replace);
    }

    fn linear_add(&mut self, input: Plain<'_, Self>, projection: &Projection<'_, Self>, out: &mut Rows) {
        let Plain { batch, x } = input;
        let input = LinearInput { x, norm: None, split: split(batch) };
        self.cpu.linear(input, weights(projection), out, Store::Accumulate);
    }

    fn gated_linear(&mut self, input: Normed<'_, Self>, gated: &Gated<'_, Self>, out: &mut Rows) {
        let activation = match gated.activation {
            Activation::Silu => linear::Activation::Silu,
            Activation::Gelu => linear::Activation::Gelu,
            Activation::GeluTanh => linear::Activation::GeluTanh,
            Activation::Relu => linear::Activation::Relu,
        };
        self.cpu.gated_linear(
            normed(&input),
            GatedWeights { gate: gated.gate, up: gated.up, activation },
            out,
        );
    }

    fn norm_heads(&mut self, qkv: &mut Rows, shape: &HeadShape, norms: &HeadNorms<'_, Self>) {
        let norm = HeadNorm { query_weight: norms.query, key_weight: norms.key, eps: norms.eps };
        self.cpu.head_norm(qkv, shape, &norm);
    }

    fn rotary_and_store(&mut self, qkv: &mut Rows, place: &LayerPlace<'_, Self>, cache: &mut KvCache) {
        let LayerPlace { batch, shape, rotary, layer } = *place;
        self.cpu.rotary_and_store(qkv, &RotaryStore { batch: &view(batch), shape, rotary, layer }, cache);
    }

    fn attention(&mut self, qkv: &Rows, place: &LayerPlace<'_, Self>, cache: &KvCache, out: &mut Rows) {
        let LayerPlace { batch, shape, layer, .. } = *place;
        out.set_rows(batch.places.len());
        self.cpu.attention(&AttentionInput { qkv, batch: &view(batch), shape, cache, layer }, out);
    }

    fn keep_rows(&mut self, rows: [&mut Rows; 2], kept: &[u32]) -> Kept {
        rows.into_iter().for_each(|rows| rows.keep(kept));
        Kept::Listed
    }

    fn logits(&mut self, input: Normed<'_, Self>, head: &Head, out: &mut Rows) {
        self.best.clear();
        match input.batch.sampled {
            [] => out.set_rows(0),
            sampled if input.batch.best_only && sampled.len() >= ESTIMATED_ROWS && head.is_estimated() => {
                let largest = self.cpu.largest_outputs(normed(&input), sampled, head, out);
                self.best.extend(largest.map(|token| token.map_or(Best::NotFinite, Best::Token)));
            }
            sampled => {
                let head = LinearWeights { parts: &[head.matrix()], bias: None };
                self.cpu.linear_rows(normed(&input), sampled, head, out);
            }
        }
    }

    fn read<'a>(&'a mut self, logits: &'a mut Rows) -> Result<Logits<'a>, ForwardError> {
        if !self.best.is_empty() {
            return Ok(Logits::best_only(&self.best));
        }
        let (width, stride) = (logits.width(), logits.stride());
        Ok(Logits::strided(logits.as_mut_slice(), width, stride).shared_by(self.cpu.pool_mut()))
    }
}

fn matrix_bytes<'a>(tensor: &TensorView<'a>) -> MatrixBytes<'a> {
    let &[rows, columns] = tensor.shape.as_slice() else {
        unreachable!("`DecoderTensors` checked that matrices have two dimensions");
    };
    MatrixBytes { weight_type: tensor.dtype, rows, columns, bytes: tensor.bytes }
}

fn pack_error(error: PackError, tensor: &TensorView<'_>) -> BackendError {
    match (error, tensor.name.to_owned()) {
        (PackError::NotFinite { offset }, name) => BackendError::NotFinite { name, offset },
        (source, name) => BackendError::Pack { name, source: source.into() },
    }
}

fn normed<'a>(input: &Normed<'a, CpuBackend>) -> LinearInput<'a> {
    let norm = Norm { weight: input.weight, eps: input.eps };
    LinearInput { x: input.x, norm: Some(norm), split: split(input.batch) }
}

fn split<'a>(batch: &Batch<'a>) -> Option<Split<'a>> {
    Some(Split { generated: batch.generated, prompt: batch.prompt })
}

fn weights<'a>(projection: &Projection<'a, CpuBackend>) -> LinearWeights<'a> {
    LinearWeights { parts: projection.parts, bias: projection.bias.map(Vec::as_slice) }
}

fn view<'a>(batch: &Batch<'a>) -> BatchView<'a> {
    BatchView { rows: batch.places, block_tables: batch.block_tables }
}

#[cfg(test)]
mod tests;
