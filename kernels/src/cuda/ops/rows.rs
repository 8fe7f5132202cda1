//! Operations on rows one by one.

use super::super::args::{BestArgs, Counted, EmbedArgs, Halves, NormArgs, RotaryArgs};
use super::super::buffer::Buffer;
use super::super::cache::CudaKvCache;
use super::super::device::Grid;
use super::super::rows::CudaRows;
use super::super::table::CudaTable;
use super::Cuda;
use crate::cpu::attention::HeadShape;

/// Rows to normalise on their way into a product.
#[derive(Clone, Copy, Debug)]
pub struct NormInput<'a> {
    pub x: &'a CudaRows,
    pub weight: &'a Buffer,
    pub eps: f32,
}

/// Angles of all positions: `(cos, sin)` of `dims / 2` pairs each.
#[derive(Debug)]
pub struct Rotary {
    pub angles: Buffer,
    pub dims: usize,
    pub interleaved: bool,
}

/// Norms of query and key heads, for the next `rotary_store`.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorms {
    query: u64,
    key: u64,
    eps: f32,
}

impl HeadNorms {
    pub fn new(query: &Buffer, key: &Buffer, eps: f32) -> Self {
        HeadNorms { query: query.address(), key: key.address(), eps }
    }
}

impl Cuda {
    pub fn embed(&mut self, table: &CudaTable, out: &CudaRows) {
        let table = table.matrix();
        self.queue(|device, state| {
            let step = &state.current;
            let args = EmbedArgs {
                counts: step.addresses.counts,
                tokens: step.addresses.tokens,
                data: table.data.address(),
                scales: table.scales.address(),
                out: out.address(),
                scale: table.scale,
                format: table.format as i32,
                columns: table.columns as i32,
                stride: table.stride as i32,
                out_stride: out.width as i32,
                offset: table.offset,
            };
            device.launch(
                "embed_rows",
                Grid { blocks: (step.grid_rows, 1, 1), threads: 256, shared_bytes: 0 },
                &args,
            )
        });
    }

    /// Normalised rows as halves of `x`: all rows of the step, or the sampled ones in their order.
    pub(super) fn norm(&mut self, input: &NormInput<'_>, counted: Counted) -> Halves {
        let halves = input.x.halves();
        self.queue(|device, state| {
            let step = &state.current;
            let (rows, slots, blocks) = match counted {
                Counted::Step => (0, step.addresses.slots, step.grid_rows),
                Counted::Sampled => (step.addresses.sampled, 0, step.sampled_rows()),
            };
            let args = NormArgs {
                counts: step.addresses.counts,
                x: input.x.address(),
                weight: input.weight.address(),
                rows,
                slots,
                out: halves,
                eps: input.eps,
                width: input.x.width as i32,
                x_stride: input.x.width as i32,
                counted,
            };
            device.launch_early(
                "rms_norm",
                Grid { blocks: (blocks, 1, 1), threads: 256, shared_bytes: 0 },
                &args,
            )
        });
        halves
    }

    /// Queries and keys are normalised when they turn.
    pub fn norm_heads(&mut self, norms: HeadNorms) {
        self.head_norms = Some(norms);
    }

    /// Turns queries in place, and writes turned keys and values to the cache.
    pub fn rotary_store(
        &mut self,
        qkv: &CudaRows,
        shape: &HeadShape,
        rotary: &Rotary,
        (cache, layer): (&CudaKvCache, usize),
    ) {
        let norms = self.head_norms.take();
        self.queue(|device, state| {
            let step = &state.current;
            let (keys, values) = cache.layer(layer);
            let args = RotaryArgs {
                counts: step.addresses.counts,
                qkv: qkv.address(),
                angles: rotary.angles.address(),
                positions: step.addresses.positions,
                table_first: step.addresses.table_first,
                blocks: state.blocks.address(),
                keys,
                values,
                query_norm: norms.map_or(0, |norms| norms.query),
                key_norm: norms.map_or(0, |norms| norms.key),
                eps: norms.map_or(0.0, |norms| norms.eps),
                qkv_stride: qkv.width as i32,
                query_heads: shape.query_heads as i32,
                kv_heads: shape.kv_heads as i32,
                head_dim: shape.head_dim as i32,
                rotary_dims: rotary.dims as i32,
                interleaved: rotary.interleaved.into(),
                block_size: cache.block_size() as i32,
            };
            let heads = (shape.query_heads + 2 * shape.kv_heads).div_ceil(4);
            let grid = Grid { blocks: (step.grid_rows, heads, 1), threads: 128, shared_bytes: 0 };
            device.launch_early("rotary_store", grid, &args)
        });
    }

    /// The best token of every sampled row.
    pub(super) fn best(&mut self, logits: &CudaRows) {
        self.queue(|device, state| {
            let step = &state.current;
            let args = BestArgs {
                counts: step.addresses.counts,
                logits: logits.address(),
                best: state.best.address(),
                vocab: logits.width as i32,
                stride: logits.width as i32,
            };
            let grid = Grid { blocks: (step.sampled_rows(), 1, 1), threads: 1024, shared_bytes: 0 };
            device.launch_early("best_logit", grid, &args)
        });
    }
}

impl super::Current {
    /// Rows of narrow products that grids cover.
    pub(super) fn narrow_rows(&self) -> usize {
        match self.recording {
            Some(bucket) => bucket.rows,
            None => self.counts.narrow as usize,
        }
    }

    /// Sampled rows that grids cover: of recorded steps, as many as rows.
    pub(super) fn sampled_rows(&self) -> usize {
        match self.recording {
            Some(bucket) => bucket.rows,
            None => self.counts.sampled as usize,
        }
    }
}
