//! A tile: one panel of 32 weight rows times up to four rows of activations, all columns. The panel stays in
//! the nearest cache for the next tile.

use crate::cpu::simd::Simd16;

/// Bytes that the weight stream is fetched ahead.
pub(super) const AHEAD: usize = 4096;

/// Results of `M` rows, two halves of a panel.
pub(super) type Results<S, const M: usize> = [[<S as Simd16>::F; 2]; M];

/// The rows of a tile: `row(i)` starts `i * stride` elements on.
pub(crate) struct Strided<T> {
    pub(crate) start: *const T,
    pub(crate) stride: usize,
}

// Not derived: `T` need not be `Copy`.
impl<T> Clone for Strided<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Strided<T> {}

impl<T> Strided<T> {
    /// # Safety
    /// The rows lie in one allocation.
    #[inline(always)]
    pub(crate) unsafe fn row(self, i: usize) -> *const T {
        // SAFETY: the caller's promise.
        unsafe { self.start.add(i * self.stride) }
    }
}
