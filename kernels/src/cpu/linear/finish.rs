//! What happens to a tile's results on their way out: bias, residual, gate.

use crate::cpu::activation::Activation;
use crate::cpu::simd::{LANES, Simd16};

/// How results meet what was in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Replace,
    /// Adds to it: the residual connection.
    Accumulate,
}

/// Writes `count` results (at most 32) of one row.
///
/// # Safety
/// `y` has 32 floats, `out` and `bias` have `count`; the processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd16>(
    y: *const f32,
    count: usize,
    bias: Option<*const f32>,
    mode: Store,
    out: *mut f32,
) {
    // SAFETY: no lane from `count` on is touched in `bias` or `out`; the rest is the caller's promise.
    unsafe {
        for first in (0..count).step_by(LANES) {
            let lanes = (count - first).min(LANES);
            let mut sum = S::load(y.add(first));
            if let Some(bias) = bias {
                sum = S::add(sum, load::<S>(bias.add(first), lanes));
            }
            if mode == Store::Accumulate {
                sum = S::add(load::<S>(out.add(first), lanes), sum);
            }
            put::<S>(out.add(first), sum, lanes);
        }
    }
}

/// Writes activation(gate) * up for `count` results (at most 32) of one row.
///
/// # Safety
/// `gate` and `up` have 32 floats, `out` has `count`; the processor has the instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn store_gated<S: Simd16>(
    activation: Activation,
    (gate, up): (*const f32, *const f32),
    count: usize,
    out: *mut f32,
) {
    // SAFETY: as in `store`.
    unsafe {
        for first in (0..count).step_by(LANES) {
            let gated = S::mul(activation.apply::<S>(S::load(gate.add(first))), S::load(up.add(first)));
            put::<S>(out.add(first), gated, (count - first).min(LANES));
        }
    }
}

#[inline(always)]
unsafe fn load<S: Simd16>(at: *const f32, lanes: usize) -> S::F {
    // SAFETY: the caller has `lanes` floats there.
    unsafe { if lanes == LANES { S::load(at) } else { S::load_first(at, lanes) } }
}

#[inline(always)]
unsafe fn put<S: Simd16>(at: *mut f32, x: S::F, lanes: usize) {
    // SAFETY: the caller has room for `lanes` floats there.
    unsafe { if lanes == LANES { S::store(at, x) } else { S::store_first(at, x, lanes) } }
}
