//! Scores of a step become weights: masked where a row does not see a key, then 2^(score - maximum). The maximum of the
//! part may grow, by which sums and outputs shrink.

// The loops index several small arrays by compile-time counts and must unroll: iterators hide both.
#![allow(clippy::needless_range_loop)]

use super::step::{RowState, STEP, VECTORS};
use crate::cpu::exp::exp2_negative;
use crate::cpu::simd::{LANES, Simd16};

/// Turns scores into weights; returns by what the rows' sums and outputs shrink.
#[inline(always)]
pub(super) unsafe fn weigh<S: Simd16, const M: usize>(
    rows: RowState,
    counts: &[usize; M],
    p: *mut f32,
) -> [S::F; M] {
    // SAFETY: the promises of `steps`.
    unsafe {
        let shrink = shrinks::<S, M>(rows, counts, p);
        for r in 0..M {
            if counts[r] > 0 {
                let row = rows.from(r);
                soften::<S>(p.add(r * STEP), *row.max, shrink[r], row.sum);
            }
        }
        shrink
    }
}

/// Masks the scores of keys that a row does not see, updates the rows' maxima and returns by what their sums and
/// outputs shrink. One exponential serves all rows, since what a row gets depends on its own lane only.
#[inline(always)]
unsafe fn shrinks<S: Simd16, const M: usize>(rows: RowState, counts: &[usize; M], p: *mut f32) -> [S::F; M] {
    const { assert!(M <= LANES) };
    // SAFETY: the promises of `steps`: 64 floats a row at `p`, one at `max`.
    unsafe {
        // 0 where the maximum stays, so that the result is exactly 1.
        let mut less = S::zero();
        for r in 0..M {
            if counts[r] > 0 {
                let max = rows.max.add(r);
                let top = mask_and_top::<S>(p.add(r * STEP), LANES, counts[r]);
                let new = if top > *max { top } else { *max };
                less = S::first_lanes(r, less, S::splat(*max - new));
                *max = new;
            } else {
                less = S::first_lanes(r, less, S::zero());
            }
        }
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), exp2_negative::<S>(less));
        let mut shrink = [S::zero(); M];
        for r in 0..M {
            shrink[r] = S::splat(lanes[r]);
        }
        shrink
    }
}

/// Sets a row's scores from `count` on to minus infinity; returns the largest. `stride` floats lie from vector to vector.
///
/// # Safety
/// `p` has the vectors, and nobody else accesses them; the processor has the instruction set of `S`.
#[inline(always)]
pub(super) unsafe fn mask_and_top<S: Simd16>(p: *mut f32, stride: usize, count: usize) -> f32 {
    // SAFETY: see above.
    unsafe {
        let mut s = [S::zero(); VECTORS];
        for j in 0..VECTORS {
            s[j] = S::load(p.add(j * stride));
        }
        if count < STEP {
            let masked = S::splat(f32::NEG_INFINITY);
            for j in 0..VECTORS {
                s[j] = S::first_lanes(count.saturating_sub(j * LANES).min(LANES), s[j], masked);
                S::store(p.add(j * stride), s[j]);
            }
        }
        S::reduce_max(S::max(S::max(s[0], s[1]), S::max(s[2], s[3])))
    }
}

/// Turns one row's scores into weights and updates its sum.
#[inline(always)]
unsafe fn soften<S: Simd16>(p: *mut f32, max: f32, shrink: S::F, sum: *mut f32) {
    // SAFETY: the promises of `steps`: 64 floats at `p`, 16 at `sum`.
    unsafe {
        let mut total = S::mul(S::load(sum), shrink);
        for j in 0..VECTORS {
            let at = p.add(j * LANES);
            let e = exp2_negative::<S>(S::sub(S::load(at), S::splat(max)));
            total = S::add(total, e);
            S::store(at, e);
        }
        S::store(sum, total);
    }
}
