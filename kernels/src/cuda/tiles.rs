//! Block-wise weights in the order in which a warp multiplies them (kernels/cuda/format.cuh), packed on the host.

use super::matrix::Format;
use crate::cpu::block::{Block, BlockFormat, WeightType, Zero};

const TILE_ROWS: usize = 16;
const GROUP: usize = 32;

/// A packed matrix.
#[derive(Debug, Default)]
pub(crate) struct Tiles {
    pub(crate) data: Vec<u8>,
    pub(crate) scales: Vec<u8>,
    /// No weight is larger.
    pub(crate) largest: f32,
}

/// The layout of a block-wise type, and what its integers are above the weights'.
pub(crate) fn format_of(weight_type: WeightType) -> (Format, i32) {
    let format = match weight_type {
        WeightType::Q4_0 => Format::Q4D,
        WeightType::Q4_1 => Format::Q4Dm,
        WeightType::Q5_0 | WeightType::Q8_0 => Format::Q8D,
        WeightType::Q5_1 => Format::Q8Dm,
        WeightType::Q4_K => Format::Q4Fm,
        WeightType::Q5_K => Format::Q8Fm,
        WeightType::Q2_K | WeightType::Q3_K => Format::Q4Fm16,
        WeightType::Q6_K => Format::Q8Fm16,
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => Format::Dense,
    };
    let offset = match BlockFormat::of(weight_type).map(|format| format.zero) {
        Some(Zero::Offset { shift }) => 1 << shift,
        _ => 0,
    };
    (format, offset)
}

/// Bytes of a lane's integers of one row, 8 columns.
fn lane_bytes(format: Format) -> usize {
    match format {
        Format::Q4D | Format::Q4Dm | Format::Q4Fm | Format::Q4Fm16 => 4,
        _ => 8,
    }
}

/// Bytes beside a group of one row.
fn scale_bytes(format: Format) -> usize {
    match format {
        Format::Q4D | Format::Q8D => 2,
        Format::Q4Dm | Format::Q8Dm => 4,
        _ => 8,
    }
}

/// Bytes of a packed matrix: of its integers, and beside them.
pub(crate) fn packed_bytes(weight_type: WeightType, rows: usize, columns: usize) -> [usize; 2] {
    let packer = Packer::new(weight_type, columns);
    [packer.tile_bytes, packer.tile_scale_bytes].map(|bytes| rows.div_ceil(TILE_ROWS) * bytes)
}

pub(crate) fn pack(weight_type: WeightType, rows: usize, columns: usize, bytes: &[u8]) -> Tiles {
    let tiles = rows.div_ceil(TILE_ROWS);
    let packer = Packer::new(weight_type, columns);
    let [data, scales] = packed_bytes(weight_type, rows, columns).map(|bytes| vec![0; bytes]);
    let mut packed = Tiles { data, scales, largest: 0.0 };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tiles_each = tiles.div_ceil(threads).max(1);
    let largest = std::thread::scope(|scope| {
        let parts: Vec<_> = packed
            .data
            .chunks_mut(tiles_each * packer.tile_bytes)
            .zip(packed.scales.chunks_mut(tiles_each * packer.tile_scale_bytes))
            .zip(bytes.chunks(tiles_each * TILE_ROWS * packer.row_bytes))
            .map(|((data, scales), bytes)| scope.spawn(|| packer.pack(bytes, data, scales)))
            .collect();
        let join = |part: std::thread::ScopedJoinHandle<'_, f32>| match part.join() {
            Ok(largest) => largest,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        parts.into_iter().map(join).fold(0.0, f32::max)
    });
    packed.largest = largest;
    packed
}

struct Packer {
    weight_type: WeightType,
    block: BlockFormat,
    format: Format,
    row_bytes: usize,
    tile_bytes: usize,
    tile_scale_bytes: usize,
}

impl Packer {
    fn new(weight_type: WeightType, columns: usize) -> Self {
        let block = BlockFormat::of(weight_type).expect("dense types are not packed as tiles");
        let (format, _) = format_of(weight_type);
        let groups = columns / GROUP;
        Packer {
            weight_type,
            block,
            format,
            row_bytes: columns / weight_type.block_elements() * weight_type.block_bytes(),
            tile_bytes: groups * 64 * lane_bytes(format),
            tile_scale_bytes: groups * block.groups * TILE_ROWS * scale_bytes(format),
        }
    }

    /// Gives the largest magnitude that a weight can have.
    fn pack(&self, rows: &[u8], data: &mut [u8], scales: &mut [u8]) -> f32 {
        let mut largest = 0.0f32;
        let runs = self.block.subs;
        let mut block = Block::EMPTY;
        for (row, bytes) in rows.chunks_exact(self.row_bytes).enumerate() {
            let data = &mut data[row / TILE_ROWS * self.tile_bytes..][..self.tile_bytes];
            let scales = &mut scales[row / TILE_ROWS * self.tile_scale_bytes..][..self.tile_scale_bytes];
            for (index, bytes) in bytes.chunks_exact(self.weight_type.block_bytes()).enumerate() {
                block.read(self.weight_type, bytes);
                for run in 0..runs {
                    let group = index * runs + run;
                    self.write_integers(&block.quants[run * GROUP..][..GROUP], row % TILE_ROWS, group, data);
                    for part in 0..self.block.groups {
                        let number = run * self.block.groups + part;
                        let at = (group * self.block.groups + part) * TILE_ROWS + row % TILE_ROWS;
                        largest = largest.max(self.write_scale(&block, number, at, scales));
                    }
                }
            }
        }
        largest
    }

    fn write_integers(&self, quants: &[u8], row: usize, group: usize, data: &mut [u8]) {
        let lane_bytes = lane_bytes(self.format);
        for q in 0..4 {
            let lane = group * 32 + row % 8 * 4 + q;
            let to = &mut data[(lane * 2 + row / 8) * lane_bytes..][..lane_bytes];
            let columns = [&quants[4 * q..][..4], &quants[16 + 4 * q..][..4]];
            if lane_bytes == 8 {
                to[..4].copy_from_slice(columns[0]);
                to[4..].copy_from_slice(columns[1]);
                continue;
            }
            let mut word = 0u32;
            for (product, columns) in columns.iter().enumerate() {
                for (j, &quant) in columns.iter().enumerate() {
                    word |= u32::from(quant) << (8 * product + j / 2 * 4 + j % 2 * 16);
                }
            }
            to.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn write_scale(&self, block: &Block, number: usize, at: usize, scales: &mut [u8]) -> f32 {
        let (d, m) = block.scales_of(self.block, number);
        let to = &mut scales[at * scale_bytes(self.format)..][..scale_bytes(self.format)];
        match to.len() {
            2 => to.copy_from_slice(&block.d.to_le_bytes()),
            4 => {
                to[..2].copy_from_slice(&block.d.to_le_bytes());
                to[2..].copy_from_slice(&block.m.to_le_bytes());
            }
            _ => {
                to[..4].copy_from_slice(&d.to_le_bytes());
                to[4..].copy_from_slice(&m.to_le_bytes());
            }
        }
        d.abs() * (1u32 << self.block.bits) as f32 + m.abs()
    }
}
