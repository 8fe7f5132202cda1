//! Merging the parts of a row, in order, and the end of a row.

use crate::cpu::exp::exp2_negative;
use crate::cpu::simd::{LANES, Simd16};

/// One row's unnormalised result over some keys: `width` floats at `o`, the maximum score, and the sum
/// of the weights relative to it.
#[derive(Clone, Copy)]
pub(crate) struct PartResult {
    pub(crate) o: *const f32,
    pub(crate) max: f32,
    pub(crate) sum: f32,
}

/// What the parts of one row have given so far; it starts as the first part.
pub(crate) struct Merged {
    /// `width` floats.
    pub(crate) o: *mut f32,
    pub(crate) max: f32,
    pub(crate) sum: f32,
}

impl Merged {
    /// Adds the next part. Of the two, the one with the smaller maximum is scaled.
    ///
    /// # Safety
    /// Both outputs have `width` floats, a multiple of 16; the processor has the instruction set of `S`.
    #[inline(always)]
    pub(crate) unsafe fn add<S: Simd16>(&mut self, part: PartResult, width: usize) {
        let so_far = PartResult { o: self.o, max: self.max, sum: self.sum };
        let (large, small) = if part.max > self.max { (part, so_far) } else { (so_far, part) };
        // SAFETY: the caller's promises.
        unsafe {
            let weight = exp2_negative::<S>(S::splat(small.max - large.max));
            self.max = large.max;
            self.sum = large.sum + small.sum * S::first(weight);
            for d in (0..width).step_by(LANES) {
                let o = S::fma(S::load(small.o.add(d)), weight, S::load(large.o.add(d)));
                S::store(self.o.add(d), o);
            }
        }
    }
}

impl From<Merged> for PartResult {
    fn from(merged: Merged) -> Self {
        Self { o: merged.o, max: merged.max, sum: merged.sum }
    }
}

/// Writes a row's normalised result, `dims` floats.
///
/// # Safety
/// The result has at least `dims` floats rounded up to whole vectors, `out` can take `dims` floats and
/// nobody else accesses them; the processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn finish<S: Simd16>(result: PartResult, dims: usize, out: *mut f32) {
    // SAFETY: the caller's promises.
    unsafe {
        let scale = S::splat(1.0 / result.sum);
        let whole = dims / LANES * LANES;
        for d in (0..whole).step_by(LANES) {
            S::store(out.add(d), S::mul(S::load(result.o.add(d)), scale));
        }
        if whole < dims {
            S::store_first(out.add(whole), S::mul(S::load(result.o.add(whole)), scale), dims - whole);
        }
    }
}
