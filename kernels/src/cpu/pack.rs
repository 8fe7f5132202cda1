//! Weight matrices in the order the kernels stream them: panels of 32 rows, without loss.
//!
//! In a panel the matrix' blocks of columns follow each other, and inside a block the lane of a vector is a
//! row: no sums across lanes, and a thread reads few ranges of addresses. `layout` has the bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use super::block::{Block, BlockFormat, WeightType};
use super::memory::{AllocError, Shared, WeightBytes};
use super::ops::Cpu;
use super::simd::{Kernel, Simd16};

mod dense;
pub(crate) mod layout;
#[cfg(test)]
mod tests;

/// Rows of a panel.
pub(crate) const PANEL_ROWS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PackError {
    #[error("a matrix of {rows} x {columns} weights is empty")]
    Empty { rows: usize, columns: usize },
    #[error("{columns} columns are not whole blocks of {weight_type}")]
    Columns { columns: usize, weight_type: WeightType },
    #[error("a matrix of {rows} x {columns} {weight_type} weights does not have {bytes} bytes")]
    Bytes { rows: usize, columns: usize, weight_type: WeightType, bytes: usize },
    #[error("a number is not finite, at byte {offset}")]
    NotFinite { offset: usize },
    #[error(transparent)]
    Memory(#[from] AllocError),
}

/// A row-major matrix of a file.
#[derive(Clone, Copy, Debug)]
pub struct MatrixBytes<'a> {
    pub weight_type: WeightType,
    pub rows: usize,
    pub columns: usize,
    pub bytes: &'a [u8],
}

impl MatrixBytes<'_> {
    /// An error if the bytes are not those of such a matrix.
    pub(crate) fn row_bytes(&self) -> Result<usize, PackError> {
        let Self { weight_type, rows, columns, bytes } = *self;
        if rows == 0 || columns == 0 {
            return Err(PackError::Empty { rows, columns });
        }
        let row_bytes = weight_type.bytes_of(columns).ok_or(PackError::Columns { columns, weight_type })?;
        if row_bytes.checked_mul(rows) != Some(bytes.len()) {
            return Err(PackError::Bytes { rows, columns, weight_type, bytes: bytes.len() });
        }
        Ok(row_bytes)
    }
}

/// A matrix of `rows` outputs times `columns` inputs.
#[derive(Debug)]
pub struct PackedMatrix {
    weight_type: WeightType,
    rows: usize,
    columns: usize,
    panel_bytes: usize,
    data: WeightBytes,
}

impl PackedMatrix {
    /// On all threads.
    pub fn pack(matrix: MatrixBytes<'_>, cpu: &mut Cpu) -> Result<Self, PackError> {
        let row_bytes = matrix.row_bytes()?;
        let MatrixBytes { weight_type, rows, columns, bytes } = matrix;
        let (panels, panel_bytes) = (rows.div_ceil(PANEL_ROWS), panel_bytes(weight_type, columns));
        let mut data = WeightBytes::zeroed(Self::bytes_of(weight_type, rows, columns))?;
        let out = Shared(data.as_mut_ptr());
        let (isa, next, bad) = (cpu.isa(), AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        cpu.pool_mut().run(&|_| {
            loop {
                let panel = next.fetch_add(1, Ordering::Relaxed);
                if panel >= panels {
                    break;
                }
                // SAFETY: panels are disjoint parts of `data`, and each belongs to one thread.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(out.get().add(panel * panel_bytes), panel_bytes)
                };
                let first = panel * PANEL_ROWS;
                let last = rows.min(first + PANEL_ROWS);
                let rows = &bytes[first * row_bytes..last * row_bytes];
                if let Some(offset) = weight_type.first_non_finite(rows) {
                    bad.fetch_min(first * row_bytes + offset, Ordering::Relaxed);
                }
                isa.run(PackPanel { weight_type, row_bytes, rows, out });
            }
        });
        let offset = bad.into_inner();
        if offset < usize::MAX {
            return Err(PackError::NotFinite { offset });
        }
        Ok(Self { weight_type, rows, columns, panel_bytes, data })
    }

    pub fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What `pack` takes: more than the file has, where scales grow or rows are no whole panels.
    pub fn bytes_of(weight_type: WeightType, rows: usize, columns: usize) -> usize {
        rows.div_ceil(PANEL_ROWS).saturating_mul(panel_bytes(weight_type, columns))
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The numbers of one row, as `WeightType::dequantise` has them.
    pub fn dequantise_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.columns, "columns of a row");
        let panel = &self.data[row / PANEL_ROWS * self.panel_bytes..][..self.panel_bytes];
        let lane = row % PANEL_ROWS;
        let Some(format) = BlockFormat::of(self.weight_type) else {
            return dense::read_row(self.weight_type, panel, lane, out);
        };
        let blocks = panel.chunks_exact(format.panel_block_bytes());
        for (block, out) in blocks.zip(out.chunks_exact_mut(self.weight_type.block_elements())) {
            format.read_block(block, lane).weights(format, out);
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    pub(crate) fn panel(&self, panel: usize) -> *const u8 {
        self.data[panel * self.panel_bytes..][..self.panel_bytes].as_ptr()
    }
}

fn panel_bytes(weight_type: WeightType, columns: usize) -> usize {
    match BlockFormat::of(weight_type) {
        Some(format) => columns / weight_type.block_elements() * format.panel_block_bytes(),
        None => columns * PANEL_ROWS * weight_type.block_bytes(),
    }
}

/// Up to 32 rows into one panel; the lanes of missing rows stay 0.
struct PackPanel<'a> {
    weight_type: WeightType,
    row_bytes: usize,
    rows: &'a [u8],
    out: &'a mut [u8],
}

impl Kernel for PackPanel<'_> {
    type Output = ();

    /// Loading takes as long as this: every type has code of its own.
    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        match self.weight_type {
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => self.dense(),
            WeightType::Q4_0 => self.blocks(WeightType::Q4_0),
            WeightType::Q4_1 => self.blocks(WeightType::Q4_1),
            WeightType::Q5_0 => self.blocks(WeightType::Q5_0),
            WeightType::Q5_1 => self.blocks(WeightType::Q5_1),
            WeightType::Q8_0 => self.blocks(WeightType::Q8_0),
            WeightType::Q2_K => self.blocks(WeightType::Q2_K),
            WeightType::Q3_K => self.blocks(WeightType::Q3_K),
            WeightType::Q4_K => self.blocks(WeightType::Q4_K),
            WeightType::Q5_K => self.blocks(WeightType::Q5_K),
            WeightType::Q6_K => self.blocks(WeightType::Q6_K),
        }
    }
}

impl PackPanel<'_> {
    fn dense(self) {
        for (lane, row) in self.rows.chunks_exact(self.row_bytes).enumerate() {
            dense::write_row(self.weight_type, row, lane, self.out);
        }
    }

    #[inline(always)]
    fn blocks(self, weight_type: WeightType) {
        let Some(format) = BlockFormat::of(weight_type) else { return };
        let mut block = Block::EMPTY;
        for (lane, row) in self.rows.chunks_exact(self.row_bytes).enumerate() {
            let blocks = row.chunks_exact(weight_type.block_bytes());
            for (bytes, out) in blocks.zip(self.out.chunks_exact_mut(format.panel_block_bytes())) {
                block.read(weight_type, bytes);
                format.write_block(&block, lane, out);
            }
        }
    }
}
