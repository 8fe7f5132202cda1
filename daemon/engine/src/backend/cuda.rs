//! A GPU as a backend: `ostro_kernels::cuda::Cuda` behind the seam.

mod convert;
mod logits;

use ostro_kernels::cuda::{
    Attention, Buffer, Cuda, CudaError, CudaKvCache, CudaMatrix, CudaRows, CudaTable, Ended, Gpu,
    HeadNorms as CudaHeadNorms, Rotary as CudaRotary, StepView, Work as CudaWork, matrix_bytes, vector_bytes,
};

use super::{
    Backend, BackendError, Batch, CacheType, Embeddings, Gated, HeadNorms, HeadShape, Kept, KvCacheShape,
    LayerPlace, Normed, Plain, Projection, Queued, RowsUse, StepLimits, StepTokens, Work,
};
use crate::forward::{ForwardError, Logits};
use crate::info::{DeviceInfo, DeviceKind};
use crate::memory::{Memory, MemoryOwner};
use crate::model::spec::{DecoderSpec, Rotary, RotaryStyle};
use crate::schedule::BlockCopy;
use crate::weights::TensorView;
use convert::{activation, device, failed, linear, matrix_shape, normed, not_loaded, rows_use};
use logits::GpuLogits;

/// Widths that the kernels' tiles divide.
const WIDTH_MULTIPLE: usize = 16;

pub struct CudaBackend {
    cuda: Cuda,
    /// A row of logits that a sampler asked for.
    row: Vec<f32>,
}

impl CudaBackend {
    pub(crate) fn new(gpu: Gpu) -> Result<Self, CudaError> {
        Ok(CudaBackend { cuda: Cuda::new(gpu)?, row: Vec::new() })
    }

    fn unsupported(&self, what: String) -> BackendError {
        BackendError::Unsupported { device: self.cuda.gpu().name.clone(), what }
    }
}

impl Backend for CudaBackend {
    type Matrix = CudaMatrix;
    type Head = CudaTable;
    type Embedding = CudaTable;
    type Vector = Buffer;
    type Rows = CudaRows;
    type Rotary = CudaRotary;
    type Cache = CudaKvCache;

    fn instruction_set(&self) -> String {
        let Gpu { name, compute_capability: (major, minor), .. } = self.cuda.gpu();
        format!("{name}, compute capability {major}.{minor}")
    }

    fn device(&self) -> DeviceInfo {
        let Gpu { name, uuid, .. } = self.cuda.gpu();
        DeviceInfo { kind: DeviceKind::Cuda, name: name.clone(), uuid: Some(uuid.clone()) }
    }

    /// Of the host, beside the GPU's.
    fn threads(&self) -> usize {
        1
    }

    /// Many rows keep the tensor cores busy, and a chunk takes some ten milliseconds.
    fn step_tokens(&self) -> StepTokens {
        StepTokens { all: 2048, beside_decode: 512, draft: 0 }
    }

    fn nominal_bytes_per_second(&self) -> Option<f64> {
        Some(self.cuda.gpu().memory_bytes_per_second)
    }

    fn memory(&self) -> Result<Memory, BackendError> {
        let (free, total) = self.cuda.memory().map_err(device)?;
        let (total_bytes, available_bytes) = (Some(total), Some(free));
        Ok(Memory { total_bytes, available_bytes, resident_bytes: None, owner: MemoryOwner::Models })
    }

    fn check(&self, spec: &DecoderSpec, cache_type: CacheType) -> Result<(), BackendError> {
        if cache_type != CacheType::F16 {
            return Err(self.unsupported("a key-value cache that is not f16".to_owned()));
        }
        for (what, width) in [
            ("hidden size", spec.hidden),
            ("intermediate size", spec.intermediate),
            ("head size", spec.head_dim),
        ] {
            if !width.is_multiple_of(WIDTH_MULTIPLE) {
                return Err(
                    self.unsupported(format!("a {what} of {width}, multiples of {WIDTH_MULTIPLE} only"))
                );
            }
        }
        Ok(())
    }

    /// Prompts attend by tiles.
    fn has_sources_apart(&self) -> bool {
        true
    }

    fn tensor_bytes(&self, tensor: &TensorView<'_>) -> u64 {
        let bytes = match tensor.shape.as_slice() {
            &[rows, columns] => matrix_bytes(tensor.dtype, [rows, columns]),
            _ => vector_bytes(tensor.elements()),
        };
        bytes as u64
    }

    fn load_matrix(&mut self, tensor: &TensorView<'_>) -> Result<CudaMatrix, BackendError> {
        let loaded = self.cuda.load_matrix(tensor.dtype, matrix_shape(tensor), tensor.bytes);
        loaded.map_err(|error| not_loaded(error, tensor))
    }

    fn matrix_bytes(&self, matrix: &CudaMatrix) -> u64 {
        matrix.bytes() as u64
    }

    fn load_head(&mut self, tensor: &TensorView<'_>) -> Result<CudaTable, BackendError> {
        let loaded = self.cuda.load_table(tensor.dtype, matrix_shape(tensor), tensor.bytes);
        loaded.map_err(|error| not_loaded(error, tensor))
    }

    fn head_bytes(&self, head: &CudaTable) -> u64 {
        head.bytes() as u64
    }

    fn load_embedding(
        &mut self,
        table: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<CudaTable, BackendError> {
        self.load_head(table)
    }

    fn embedding_bytes(&self, table: &CudaTable) -> u64 {
        table.bytes() as u64
    }

    fn check_gated(&self, gate: &CudaMatrix, up: &CudaMatrix) -> Result<(), BackendError> {
        match Cuda::is_pair(gate, up) {
            true => Ok(()),
            false => Err(self.unsupported("gate and up matrices of different types".to_owned())),
        }
    }

    fn load_vector(&mut self, values: Vec<f32>) -> Result<Buffer, BackendError> {
        self.cuda.load_vector(&values).map_err(device)
    }

    fn load_rotary(&mut self, rotary: &Rotary, positions: usize) -> Result<CudaRotary, BackendError> {
        let frequencies = rotary.frequencies();
        let angle = |position: usize, frequency: f32| {
            let (sin, cos) = (position as f64 * f64::from(frequency)).sin_cos();
            [cos as f32, sin as f32]
        };
        let angles: Vec<f32> = (0..positions)
            .flat_map(|position| frequencies.iter().flat_map(move |&frequency| angle(position, frequency)))
            .collect();
        Ok(CudaRotary {
            angles: self.cuda.load_vector(&angles).map_err(device)?,
            dims: rotary.dims,
            interleaved: rotary.style == RotaryStyle::Interleaved,
        })
    }

    fn allocate_rows(
        &mut self,
        rows: usize,
        width: usize,
        use_of_rows: RowsUse,
    ) -> Result<CudaRows, BackendError> {
        self.cuda.allocate_rows(rows, width, rows_use(use_of_rows)).map_err(device)
    }

    fn rows_bytes(&self, rows: usize, width: usize, use_of_rows: RowsUse) -> u64 {
        self.cuda.rows_bytes(rows, width, rows_use(use_of_rows)) as u64
    }

    fn block_bytes(&self, shape: &KvCacheShape) -> u64 {
        CudaKvCache::bytes_per_block(shape) as u64
    }

    fn allocate_cache(&mut self, shape: &KvCacheShape) -> Result<CudaKvCache, BackendError> {
        self.cuda.allocate_cache(*shape).map_err(device)
    }

    /// Not tried: some rows more cost a step little.
    fn copies_blocks(&self) -> bool {
        false
    }

    fn copy_block(&mut self, _: &mut CudaKvCache, _: BlockCopy) {
        unreachable!("nobody keeps a start where blocks are not copied");
    }

    fn reserved_bytes(&self, limits: &StepLimits, rotary: &Rotary, matrices: &[&TensorView<'_>]) -> u64 {
        let angles = limits.positions * rotary.dims * size_of::<f32>();
        let matrices = matrices.iter().map(|tensor| (tensor.dtype, matrix_shape(tensor)));
        (self.cuda.reserved_bytes(&convert::limits(limits), matrices) + angles) as u64
    }

    fn reserve(&mut self, limits: &StepLimits) -> Result<(), BackendError> {
        self.cuda.reserve(&convert::limits(limits)).map_err(device)
    }

    fn begin(&mut self, batch: &Batch<'_>) -> Result<Work, ForwardError> {
        let Batch { tokens, places, block_tables, sampled, .. } = *batch;
        match self.cuda.begin(&StepView { tokens, places, block_tables, sampled }).map_err(failed)? {
            CudaWork::Queue => Ok(Work::Operations),
            CudaWork::Replayed => Ok(Work::Replayed),
        }
    }

    fn queued(&mut self) -> Queued {
        match self.cuda.end() {
            Ended::UnderWay => Queued::UnderWay,
            Ended::QueueAgain => Queued::Again,
        }
    }

    fn embed(&mut self, from: Embeddings<'_, Self>, _: &Batch<'_>, out: &mut CudaRows) {
        self.cuda.embed(from.table.unwrap_or(from.head), out);
    }

    fn linear(&mut self, input: Normed<'_, Self>, projection: &Projection<'_, Self>, out: &mut CudaRows) {
        self.cuda.linear(&normed(&input), &linear(projection), out);
    }

    fn linear_add(&mut self, input: Plain<'_, Self>, projection: &Projection<'_, Self>, out: &mut CudaRows) {
        self.cuda.linear_add(input.x, &linear(projection), out);
    }

    fn gated_linear(&mut self, input: Normed<'_, Self>, gated: &Gated<'_, Self>, out: &mut CudaRows) {
        let activation = activation(gated.activation);
        self.cuda.gated_linear(&normed(&input), [gated.gate, gated.up], activation, out);
    }

    fn norm_heads(&mut self, _: &mut CudaRows, _: &HeadShape, norms: &HeadNorms<'_, Self>) {
        self.cuda.norm_heads(CudaHeadNorms::new(norms.query, norms.key, norms.eps));
    }

    fn rotary_and_store(
        &mut self,
        qkv: &mut CudaRows,
        place: &LayerPlace<'_, Self>,
        cache: &mut CudaKvCache,
    ) {
        self.cuda.rotary_store(qkv, place.shape, place.rotary, (cache, place.layer));
    }

    fn attention(
        &mut self,
        qkv: &CudaRows,
        place: &LayerPlace<'_, Self>,
        cache: &CudaKvCache,
        out: &mut CudaRows,
    ) {
        let input = Attention { qkv, shape: place.shape, cache, layer: place.layer };
        self.cuda.attention(&input, out);
    }

    /// Recorded steps and the tables of a step name all rows.
    fn keep_rows(&mut self, _: [&mut CudaRows; 2], _: &[u32]) -> Kept {
        Kept::All
    }

    fn logits(&mut self, input: Normed<'_, Self>, head: &CudaTable, out: &mut CudaRows) {
        self.cuda.logits(&normed(&input), head, out);
    }

    fn read<'a>(&'a mut self, logits: &'a mut CudaRows) -> Result<Logits<'a>, ForwardError> {
        if let Some(reason) = self.cuda.take_refusal() {
            tracing::warn!("steps on the GPU are no longer recorded, which makes them slower: {reason}");
        }
        let best = self.cuda.finish().map_err(failed)?.to_vec();
        self.row.resize(logits.width(), 0.0);
        Ok(Logits::on_device(GpuLogits { best, cuda: &self.cuda, logits, row: &mut self.row }))
    }
}
