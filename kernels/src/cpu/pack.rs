//! Weight matrices in the order the kernels stream them: panels of 32 rows, without loss.
//!
//! In a panel the matrix' blocks of columns follow each other, and inside a block the lane of a vector is a
//! row: no sums across lanes, and a thread reads one range of addresses. `layout` has the bytes.

use thiserror::Error;

use super::block::{Block, BlockFormat, WeightType};
use super::memory::{AllocError, Shared, WeightBytes};
use super::pool::Pool;

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
    #[error(transparent)]
    Memory(#[from] AllocError),
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
    /// Repacks a row-major matrix on all threads of `pool`.
    pub fn pack(
        weight_type: WeightType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
        pool: &mut Pool,
    ) -> Result<Self, PackError> {
        if rows == 0 || columns == 0 {
            return Err(PackError::Empty { rows, columns });
        }
        let row_bytes = weight_type.bytes_of(columns).ok_or(PackError::Columns { columns, weight_type })?;
        if row_bytes.checked_mul(rows) != Some(bytes.len()) {
            return Err(PackError::Bytes { rows, columns, weight_type, bytes: bytes.len() });
        }
        let panel_bytes = match BlockFormat::of(weight_type) {
            Some(format) => columns / weight_type.block_elements() * format.panel_block_bytes(),
            None => columns * PANEL_ROWS * weight_type.block_bytes(),
        };
        let panels = rows.div_ceil(PANEL_ROWS);
        let total = panels.checked_mul(panel_bytes).ok_or(AllocError { bytes: usize::MAX })?;
        let mut data = WeightBytes::zeroed(total)?;
        let out = Shared(data.as_mut_ptr());
        pool.run(&|team| {
            for panel in team.share(panels) {
                // SAFETY: panels are disjoint parts of `data`, and each belongs to one thread.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(out.get().add(panel * panel_bytes), panel_bytes)
                };
                let first = panel * PANEL_ROWS;
                let last = rows.min(first + PANEL_ROWS);
                pack_panel(weight_type, row_bytes, &bytes[first * row_bytes..last * row_bytes], out);
            }
        });
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

/// Up to 32 rows into one panel; the lanes of missing rows stay 0.
fn pack_panel(weight_type: WeightType, row_bytes: usize, rows: &[u8], out: &mut [u8]) {
    for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
        let Some(format) = BlockFormat::of(weight_type) else {
            dense::write_row(weight_type, row, lane, out);
            continue;
        };
        let blocks = row.chunks_exact(weight_type.block_bytes());
        for (block, out) in blocks.zip(out.chunks_exact_mut(format.panel_block_bytes())) {
            format.write_block(&Block::decode(weight_type, block), lane, out);
        }
    }
}
