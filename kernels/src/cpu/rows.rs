//! Activations of a batch: rows of f32 with a fixed capacity, so that a step allocates nothing.

use super::memory::{AllocError, HugeBuffer, Shared};

/// `rows` rows of `width` floats, each row aligned to 64 bytes.
#[derive(Debug)]
pub struct Rows {
    data: HugeBuffer<f32>,
    capacity: usize,
    rows: usize,
    width: usize,
    stride: usize,
}

impl Rows {
    /// Zeroed; holds `capacity_rows` rows until [`Rows::set_rows`] says fewer.
    ///
    /// # Panics
    /// If the memory cannot be had; [`Rows::try_new`] returns the error.
    pub fn new(capacity_rows: usize, width: usize) -> Self {
        Self::try_new(capacity_rows, width).expect("memory for activations")
    }

    pub fn try_new(capacity_rows: usize, width: usize) -> Result<Self, AllocError> {
        let stride = width.checked_next_multiple_of(16).ok_or(AllocError { bytes: usize::MAX })?;
        let len = stride.checked_mul(capacity_rows).ok_or(AllocError { bytes: usize::MAX })?;
        let data = HugeBuffer::zeroed(len)?;
        Ok(Self { data, capacity: capacity_rows, rows: capacity_rows, width, stride })
    }

    /// What [`Rows::try_new`] takes.
    pub fn bytes(capacity_rows: usize, width: usize) -> u64 {
        let stride = (width as u64).next_multiple_of(16);
        stride.saturating_mul(capacity_rows as u64).saturating_mul(4)
    }

    /// The rows in use; what lies in them stays.
    pub fn set_rows(&mut self, rows: usize) {
        assert!(rows <= self.capacity, "{rows} rows exceed the capacity of {}", self.capacity);
        self.rows = rows;
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn row(&self, i: usize) -> &[f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.stride..][..self.width]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &mut self.data[i * self.stride..][..self.width]
    }

    /// Moves the listed rows to the front; they are all that is left.
    ///
    /// # Panics
    /// If the list does not ascend, or names a row that is not there.
    pub fn keep(&mut self, kept: &[u32]) {
        assert!(kept.is_sorted_by(|a, b| a < b), "rows to keep must ascend");
        assert!(kept.last().is_none_or(|&last| (last as usize) < self.rows), "a row to keep is not there");
        for (to, &from) in kept.iter().enumerate() {
            let from = from as usize * self.stride;
            self.data.copy_within(from..from + self.width, to * self.stride);
        }
        self.rows = kept.len();
    }

    /// Floats from the start of a row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All rows in use with what pads them, a row every [`Rows::stride`].
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data[..self.rows * self.stride]
    }

    /// For writing from the threads of a region.
    pub(crate) fn shared(&mut self) -> SharedRows {
        SharedRows {
            data: Shared(self.data.as_mut_ptr()),
            stride: self.stride,
            rows: self.rows,
            width: self.width,
        }
    }
}

/// Rows that several threads write, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows {
    data: Shared<f32>,
    stride: usize,
    rows: usize,
    width: usize,
}

impl SharedRows {
    /// The start of a row: `width` floats, of which a thread may touch those that no other one does
    /// between two barriers.
    #[inline(always)]
    pub(crate) fn row(self, i: usize) -> *mut f32 {
        debug_assert!(i < self.rows);
        // Wrapping: the row index is in range, and so the pointer inside the buffer.
        self.data.get().wrapping_add(i * self.stride)
    }

    /// A row as a slice.
    ///
    /// # Safety
    /// `i` is a row, and no other thread touches it while the slice lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice_mut<'a>(self, i: usize) -> &'a mut [f32] {
        // SAFETY: the row lies in the buffer; the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.row(i), self.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_overlap_and_are_aligned() {
        let mut rows = Rows::new(3, 5);
        for i in 0..3 {
            rows.row_mut(i).fill(i as f32);
        }
        for i in 0..3 {
            assert_eq!(rows.row(i), [i as f32; 5]);
            assert_eq!(rows.row(i).as_ptr() as usize % 64, 0);
        }
        rows.set_rows(1);
        assert_eq!(rows.rows(), 1);
    }

    #[test]
    fn kept_rows_move_to_the_front() {
        let mut rows = Rows::new(5, 3);
        (0..5).for_each(|i| rows.row_mut(i).fill(i as f32));
        rows.keep(&[0, 2, 4]);
        assert_eq!(rows.rows(), 3);
        assert_eq!([rows.row(0)[2], rows.row(1)[0], rows.row(2)[1]], [0.0, 2.0, 4.0]);
        rows.keep(&[]);
        assert_eq!(rows.rows(), 0);
    }
}
