//! Activations as integers of 16 bits with one scale a segment, in the tiles that matrix units multiply: of every
//! group of 16 rows and every 64 columns a tile of high digits, then one of low digits. See `linear::wide`.

use super::{BLOCK, LARGEST, TINY, largest_size};
use crate::cpu::linear::wide::{GROUP_ROWS, STEP, Segments, TILE_BYTES};
use crate::cpu::simd::{LANES, Simd16};

/// Where a row's digits and scales go.
#[derive(Clone, Copy)]
pub(crate) struct WideRow {
    /// Of the row's group.
    digits: *mut i8,
    scales: *mut f32,
    /// In the group.
    row: usize,
}

/// Bytes of digits, and scales, of a group of rows of `width`.
pub(crate) const fn group_sizes(width: usize) -> (usize, usize) {
    let segments = Segments::of(width);
    (segments.steps * 2 * TILE_BYTES, segments.count * GROUP_ROWS)
}

impl WideRow {
    /// Row `row` of the groups that start at `digits` and `scales`.
    ///
    /// # Safety
    /// The row's group lies in both allocations; while the value is used, nobody else touches the row.
    pub(crate) unsafe fn new(digits: *mut i8, scales: *mut f32, width: usize, row: usize) -> Self {
        let (bytes, numbers) = group_sizes(width);
        let group = row / GROUP_ROWS;
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                digits: digits.add(group * bytes),
                scales: scales.add(group * numbers),
                row: row % GROUP_ROWS,
            }
        }
    }

    /// Takes `x` apart, whose length is the width.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`.
    #[inline(always)]
    pub(crate) unsafe fn put<S: Simd16>(self, x: &[f32]) {
        // SAFETY: `new` says that the row's digits and scales are ours; no reference is made to them, since other
        // threads may write other rows of the group.
        unsafe {
            let segments = Segments::of(x.len());
            for segment in 0..segments.count {
                let blocks = segments.blocks_of(segment);
                let (scale, inverse) = scale::<S>(&x[blocks.start * BLOCK..blocks.end * BLOCK]);
                *self.scales.add(segment * GROUP_ROWS + self.row) = scale;
                for block in blocks {
                    let mut halves = [S::zero_i(); 2];
                    for (i, half) in halves.iter_mut().enumerate() {
                        let x = S::load(x.as_ptr().add(block * BLOCK + i * LANES));
                        *half = S::to_i(S::mul(x, S::splat(inverse)));
                    }
                    self.store::<S>(block * BLOCK, halves);
                }
            }
            if !x.len().is_multiple_of(STEP) {
                // Half a step is left: columns are whole blocks.
                self.store::<S>(x.len(), [S::zero_i(); 2]);
            }
        }
    }

    /// 32 columns.
    #[inline(always)]
    unsafe fn store<S: Simd16>(self, column: usize, x: [S::I; 2]) {
        // SAFETY: as in `put`.
        unsafe {
            let tile = self.digits.add(column / STEP * 2 * TILE_BYTES);
            let at = tile.add(self.row * STEP + column % STEP);
            S::store_digits([at, at.add(TILE_BYTES)], x);
        }
    }
}

/// The scale of a segment, and what makes integers of its numbers. NaN if one is not finite, so that it shows.
#[inline(always)]
unsafe fn scale<S: Simd16>(x: &[f32]) -> (f32, f32) {
    // SAFETY: the instruction set is the caller's promise.
    let largest = unsafe { largest_size::<S>(x) };
    if (TINY..=f32::MAX).contains(&largest) {
        (largest / LARGEST, LARGEST / largest)
    } else if largest < TINY {
        (0.0, 0.0)
    } else {
        (f32::NAN, 0.0)
    }
}
