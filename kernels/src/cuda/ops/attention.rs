//! Attention over the paged cache: prompt rows by tiles, all others one by one in parts of their keys.

use super::super::args::{AttendArgs, PromptArgs};
use super::super::buffer::Buffer;
use super::super::cache::CudaKvCache;
use super::super::device::{CudaError, Device, Grid};
use super::super::matrix::allocate;
use super::super::rows::CudaRows;
use super::super::step::TILE_ROWS;
use super::{Cuda, StepLimits, StepState};
use crate::cpu::attention::HeadShape;

/// Keys of a part (kernels/cuda/attention.cu).
pub(super) const PART: usize = 128;
/// For the results of parts before they are merged, at most; small steps take less.
const PART_BYTES: usize = 64 << 20;
/// Keys of a step of prompt rows (kernels/cuda/prompt.cu).
const STEP_KEYS: usize = 64;

/// Results of parts: `rows` rows of all heads at a time.
#[derive(Debug)]
pub(super) struct PartBuffers {
    out: Buffer,
    state: Buffer,
    /// Rows times parts that fit.
    row_parts: usize,
}

impl PartBuffers {
    pub(super) fn new(device: &Device, limits: &StepLimits) -> Result<Self, CudaError> {
        let PartSizes { row_parts, out, state } = PartSizes::of(limits);
        let buffer = |bytes| allocate(device, "attention", bytes, |stream| Buffer::zeroed(stream, bytes));
        Ok(PartBuffers { out: buffer(out)?, state: buffer(state)?, row_parts })
    }
}

/// Of `PartBuffers`; in bytes but for `row_parts`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartSizes {
    row_parts: usize,
    out: usize,
    state: usize,
}

impl PartSizes {
    pub(super) fn of(limits: &StepLimits) -> Self {
        let StepLimits { rows, positions, shape, .. } = limits;
        let longest = (positions / PART + 1).next_power_of_two();
        let bytes_each = shape.query_heads * shape.head_dim * 4;
        let row_parts = (PART_BYTES / bytes_each).min(rows * longest).max(longest);
        PartSizes { row_parts, out: row_parts * bytes_each, state: row_parts * shape.query_heads * 8 }
    }

    pub(super) fn bytes(self) -> usize {
        self.out + self.state
    }
}

/// A layer's attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    pub qkv: &'a CudaRows,
    pub shape: &'a HeadShape,
    pub cache: &'a CudaKvCache,
    pub layer: usize,
}

fn single_kernel(shape: &HeadShape) -> (&'static str, usize) {
    match shape.group() {
        1 => ("attend_1", 1),
        2 => ("attend_2", 2),
        3 | 4 => ("attend_4", 4),
        _ => ("attend_8", 8),
    }
}

/// (kernel, padded head, copies of keys and values in shared memory)
fn prompt_kernel(head_dim: usize) -> (&'static str, usize, usize) {
    match head_dim {
        0..=64 => ("prompt_64", 64, 2),
        65..=128 => ("prompt_128", 128, 2),
        _ => ("prompt_256", 256, 1),
    }
}

pub(super) fn prompt_shared_bytes(head_dim: usize) -> usize {
    let (_, head, copies) = prompt_kernel(head_dim);
    (TILE_ROWS + 2 * copies * STEP_KEYS) * (head + 8) * 2
}

pub(super) fn prepare(device: &mut Device, shape: &HeadShape) -> Result<(), CudaError> {
    device.prepare("attention", single_kernel(shape).0)?;
    device.prepare("attention", "merge_parts")?;
    let (kernel, ..) = prompt_kernel(shape.head_dim);
    device.prepare("prompt", kernel)?;
    device.allow_shared(kernel, prompt_shared_bytes(shape.head_dim))
}

impl Cuda {
    /// Halves of the heads' outputs.
    pub fn attention(&mut self, input: &Attention<'_>, out: &CudaRows) {
        self.queue(|device, state| singles(device, state, input, out));
        self.queue(|device, state| prompts(device, state, input, out));
    }
}

fn singles(
    device: &Device,
    state: &StepState,
    input: &Attention<'_>,
    out: &CudaRows,
) -> Result<(), CudaError> {
    let Attention { qkv, shape, cache, layer } = *input;
    let step = &state.current;
    let rows = if step.recording.is_some() { step.grid_rows } else { step.counts.singles as usize };
    let rows_at_once = state.parts.row_parts / step.parts;
    let (kernel, heads_at_once) = single_kernel(shape);
    let (keys, values) = cache.layer(layer);
    for first in (0..rows).step_by(rows_at_once) {
        let args = AttendArgs {
            counts: step.addresses.counts,
            qkv: qkv.address(),
            singles: step.addresses.singles,
            blocks: state.blocks.address(),
            keys,
            values,
            part_out: state.parts.out.address(),
            part_state: state.parts.state.address(),
            out: out.halves(),
            scale_log2: shape.scale * std::f32::consts::LOG2_E,
            qkv_stride: qkv.width as i32,
            query_heads: shape.query_heads as i32,
            kv_heads: shape.kv_heads as i32,
            head_dim: shape.head_dim as i32,
            block_size: cache.block_size() as i32,
            parts_max: step.parts as i32,
            first: first as i32,
        };
        let rows = rows_at_once.min(rows - first);
        let groups = shape.kv_heads * shape.group().div_ceil(heads_at_once);
        let grid = Grid { blocks: (rows, groups, step.parts), threads: 128, shared_bytes: 0 };
        device.launch_early(kernel, grid, &args)?;
        let grid = Grid { blocks: (rows, shape.query_heads, 1), threads: 64, shared_bytes: 0 };
        device.launch_early("merge_parts", grid, &args)?;
    }
    Ok(())
}

fn prompts(
    device: &Device,
    state: &StepState,
    input: &Attention<'_>,
    out: &CudaRows,
) -> Result<(), CudaError> {
    let Attention { qkv, shape, cache, layer } = *input;
    let step = &state.current;
    let (keys, values) = cache.layer(layer);
    let args = PromptArgs {
        counts: step.addresses.counts,
        qkv: qkv.address(),
        tiles: step.addresses.tiles,
        blocks: state.blocks.address(),
        slots: step.addresses.slots,
        keys,
        values,
        out: out.halves(),
        scale_log2: shape.scale * std::f32::consts::LOG2_E,
        qkv_stride: qkv.width as i32,
        query_heads: shape.query_heads as i32,
        kv_heads: shape.kv_heads as i32,
        head_dim: shape.head_dim as i32,
        block_size: cache.block_size() as i32,
    };
    let (kernel, ..) = prompt_kernel(shape.head_dim);
    let shared_bytes = prompt_shared_bytes(shape.head_dim);
    let grid =
        Grid { blocks: (step.counts.tiles as usize, shape.query_heads, 1), threads: 128, shared_bytes };
    device.launch(kernel, grid, &args)
}
