//! `Cuda`: the operations of a decoder's step on one GPU, queued on its stream.
//!
//! An operation gives no result of its own: the first error is kept, what follows is left out, and `finish` reports it.
//! Small steps without prompt rows are recorded once as a graph and replayed after (`graphs`).

mod attention;
mod graphs;
mod limits;
pub(super) mod linear;
mod rows;
mod unpacked;
mod wide;

use std::collections::HashMap;

use cudarc::driver::{CudaGraph, result};

use super::args::Counts;
use super::buffer::{Buffer, Pinned};
use super::cache::CudaKvCache;
use super::device::{CudaError, Device, During};
use super::discover::Gpu;
use super::matrix::{self, CudaMatrix, MatrixError, allocate};
use super::rows::{CudaRows, RowsUse};
use super::step::{Blocks, StepAddresses, StepTable};
use super::table::CudaTable;
use crate::cpu::block::WeightType;
use crate::cpu::kv_cache::KvCacheShape;
pub use attention::Attention;
use attention::{PartBuffers, PartSizes};
use graphs::{Bucket, Recording};
pub use graphs::{Ended, Work};
pub use limits::StepLimits;
pub use linear::{Activation, Epilogue, Linear};
pub use rows::{HeadNorms, NormInput, Rotary};
use unpacked::{UnpackRoom, unpacked_bytes_of};

pub struct Cuda {
    device: Device,
    step: Option<StepState>,
    /// The first error since the last `finish`.
    failed: Option<CudaError>,
    head_norms: Option<HeadNorms>,
    recording: Recording,
    /// For the matrices that were loaded.
    room: UnpackRoom,
}

struct StepState {
    small: StepTable,
    large: StepTable,
    blocks: Blocks,
    parts: PartBuffers,
    best: Buffer,
    best_host: Pinned<u32>,
    /// Block-wise matrices as rows of f16, for wide products; as large as `room` says.
    unpacked: Buffer,
    room: UnpackRoom,
    graphs: HashMap<Bucket, CudaGraph>,
    current: Current,
}

/// The step under way.
#[derive(Clone, Copy, Debug)]
struct Current {
    addresses: StepAddresses,
    counts: Counts,
    /// Grids cover these rows, of which `counts` may have fewer.
    grid_rows: usize,
    parts: usize,
    recording: Option<Bucket>,
}

impl Cuda {
    /// # Errors
    /// When the driver refuses the GPU, or code for it.
    pub fn new(gpu: Gpu) -> Result<Self, CudaError> {
        let mut device = Device::open(gpu)?;
        for kernel in ["embed_rows", "rms_norm", "rotary_store", "best_logit"] {
            device.prepare("rows", kernel)?;
        }
        device.prepare("pack", "pack_dense")?;
        if device.is_hopper() {
            wide::prepare(&mut device)?;
        }
        Ok(Cuda {
            device,
            step: None,
            failed: None,
            head_norms: None,
            recording: Recording::On,
            room: UnpackRoom::default(),
        })
    }

    pub fn gpu(&self) -> &Gpu {
        &self.device.gpu
    }

    /// (free, total) bytes of the GPU.
    pub fn memory(&self) -> Result<(u64, u64), CudaError> {
        self.device.memory()
    }

    /// Prompt rows have products of their own.
    pub fn has_wide_products(&self) -> bool {
        self.device.is_hopper()
    }

    /// A matrix of products: what was reserved before is given up, since it may be too small for this one.
    pub fn load_matrix(
        &mut self,
        weight_type: WeightType,
        shape: [usize; 2],
        bytes: &[u8],
    ) -> Result<CudaMatrix, MatrixError> {
        let matrix = self.load(weight_type, shape, bytes)?;
        self.room = self.room.with(unpacked_bytes_of(&matrix));
        self.step = None;
        Ok(matrix)
    }

    /// A table of embeddings, or a head.
    pub fn load_table(
        &mut self,
        weight_type: WeightType,
        shape: [usize; 2],
        bytes: &[u8],
    ) -> Result<CudaTable, MatrixError> {
        Ok(CudaTable::new(self.load(weight_type, shape, bytes)?))
    }

    fn load(
        &mut self,
        weight_type: WeightType,
        shape: [usize; 2],
        bytes: &[u8],
    ) -> Result<CudaMatrix, MatrixError> {
        let matrix = matrix::load(&mut self.device, weight_type, shape, bytes)?;
        linear::prepare(&mut self.device, matrix.format)?;
        Ok(matrix)
    }

    /// Whether they can be the halves of a `gated_linear`.
    pub fn is_pair(gate: &CudaMatrix, up: &CudaMatrix) -> bool {
        gate.is_like(up)
    }

    pub fn load_vector(&self, values: &[f32]) -> Result<Buffer, CudaError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        allocate(&self.device, "weights", bytes.len(), |stream| Buffer::of(stream, &bytes))
    }

    pub fn allocate_rows(
        &self,
        capacity: usize,
        width: usize,
        rows_use: RowsUse,
    ) -> Result<CudaRows, CudaError> {
        CudaRows::new(&self.device, capacity, width, rows_use)
    }

    /// What `allocate_rows` takes.
    pub fn rows_bytes(&self, capacity: usize, width: usize, rows_use: RowsUse) -> usize {
        CudaRows::bytes(self.device.is_hopper(), capacity, width, rows_use)
    }

    pub fn allocate_cache(&self, shape: KvCacheShape) -> Result<CudaKvCache, CudaError> {
        CudaKvCache::new(&self.device, shape)
    }

    /// Bytes of the device that `reserve` takes once these matrices, as (type, [rows, columns]), are loaded.
    pub fn reserved_bytes(
        &self,
        limits: &StepLimits,
        matrices: impl IntoIterator<Item = (WeightType, [usize; 2])>,
    ) -> usize {
        let tables = limits.tables().map(|(rows, sampled)| StepTable::bytes(rows, sampled));
        let parts = PartSizes::of(limits).bytes();
        let best = limits.sampled * 4;
        tables.iter().sum::<usize>()
            + limits.blocks() * 4
            + parts
            + best
            + self.unpacked_bytes(UnpackRoom::of(matrices))
    }

    fn unpacked_bytes(&self, room: UnpackRoom) -> usize {
        if self.has_wide_products() { room.bytes() } else { 0 }
    }

    /// Allocates what steps need beside rows and cache, so that a step allocates nothing.
    pub fn reserve(&mut self, limits: &StepLimits) -> Result<(), CudaError> {
        let StepLimits { sampled, shape, .. } = *limits;
        let room = self.room;
        let unpacked_bytes = self.unpacked_bytes(room);
        let device = &mut self.device;
        attention::prepare(device, &shape)?;
        let [small, large] = limits.tables().map(|(rows, sampled)| StepTable::new(device, rows, sampled));
        let (small, large) = (small?, large?);
        let blocks = Blocks::new(device, limits.blocks())?;
        let current = Current {
            addresses: small.addresses(),
            counts: Counts::default(),
            grid_rows: 0,
            parts: 0,
            recording: None,
        };
        self.step = Some(StepState {
            parts: PartBuffers::new(device, limits)?,
            best: allocate(device, "sampled tokens", sampled * 4, |stream| {
                Buffer::zeroed(stream, sampled * 4)
            })?,
            best_host: Pinned::zeroed(&device.context, sampled).during("cannot allocate pinned memory")?,
            unpacked: allocate(device, "unpacked weights", unpacked_bytes, |stream| {
                Buffer::zeroed(stream, unpacked_bytes)
            })?,
            room,
            graphs: HashMap::new(),
            small,
            large,
            blocks,
            current,
        });
        Ok(())
    }

    /// Waits for the step; the best token of each sampled row, `u32::MAX` where a logit is not finite.
    pub fn finish(&mut self) -> Result<&[u32], CudaError> {
        if let Some(error) = self.failed.take() {
            // Whatever is still queued must not meet buffers of the next step.
            let _ = self.device.synchronise();
            return Err(error);
        }
        let device = &self.device;
        let state = self.step.as_mut().expect("`reserve` comes before the first step");
        let sampled = state.current.counts.sampled as usize;
        let mut copied = Ok(());
        if sampled > 0 {
            let to = &mut state.best_host.as_mut_slice()[..sampled];
            // SAFETY: both sides are at least `sampled` long; the host's is read after the stream is synchronised.
            copied =
                unsafe { result::memcpy_dtoh_async(to, state.best.address(), device.stream.cu_stream()) }
                    .during("cannot copy tokens from the GPU");
        }
        // Where the copy was refused, too: the next step writes on the host what this one's copies may still read.
        device.synchronise()?;
        copied?;
        Ok(&state.best_host.as_slice()[..sampled])
    }

    /// Copies one row of floats to the host, after `finish`.
    pub fn read_row(&self, rows: &CudaRows, row: usize, out: &mut [f32]) -> Result<(), CudaError> {
        assert!(row < rows.capacity && out.len() <= rows.width, "row {row} of {}", rows.capacity);
        let from = rows.address() + (row * rows.width * 4) as u64;
        self.device.context.bind_to_thread().during("the GPU failed")?;
        // SAFETY: the row is inside the buffer; the stream is synchronised before `out` is used.
        unsafe { result::memcpy_dtoh_async(out, from, self.device.stream.cu_stream()) }
            .during("cannot copy logits from the GPU")?;
        self.device.synchronise()
    }

    /// Runs an operation unless an earlier one failed.
    fn queue(&mut self, operation: impl FnOnce(&Device, &StepState) -> Result<(), CudaError>) {
        if self.failed.is_some() {
            return;
        }
        let state = self.step.as_ref().expect("`reserve` comes before the first step");
        let result = operation(&self.device, state);
        self.keep(result);
    }

    fn keep(&mut self, result: Result<(), CudaError>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}
