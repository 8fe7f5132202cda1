//! The arithmetic of attention: a few query rows against 64 keys. Every path ends here (but for prompts on a matrix
//! unit), so a row's bits cannot depend on the path.
//!
//! For one row: scores are sequential fused multiply-adds over the dimensions, a lane is a key; the
//! running maximum of the part may grow, then sum and output shrink by 2^(old - new); weights are
//! 2^(score - maximum); the sum keeps 16 lanes, vector after vector; the output takes the keys one
//! after the other. Keys a row may not see are masked in the scores and never read as values, so
//! that memory nobody has written yet cannot matter.

// The loops index several small arrays by compile-time counts and must unroll: iterators hide both.
#![allow(clippy::needless_range_loop)]

use super::element::Element;
use super::weigh::weigh;
pub(crate) use crate::cpu::kv_cache::STEP;
use crate::cpu::simd::{LANES, Simd16};

/// From one query row to the next: a constant, so that addresses need no registers, and odd in cache
/// lines, so that rows do not fall into the same sets.
pub(crate) const QUERY_STRIDE: usize = 256 + LANES;
/// Vectors of keys in a step.
pub(super) const VECTORS: usize = STEP / LANES;

/// Where the 64 keys lie: 16 after 16, so that pages may be small. Pointers of absent keys repeat
/// those of present ones.
#[derive(Clone, Copy)]
pub(crate) struct StepKeys<B> {
    /// Keys, transposed: dimension `d` of 16 keys at `k[j] + d * k_stride`.
    pub(crate) k: [*const B; VECTORS],
    /// Values: token `t` of 16 at `v[j] + t * v_stride`.
    pub(crate) v: [*const B; VECTORS],
    pub(crate) k_stride: usize,
    pub(crate) v_stride: usize,
    /// The same for the step after this one, or for the next unit's first one, to be prefetched; never read.
    pub(crate) k_ahead: [*const B; VECTORS],
    pub(crate) v_ahead: [*const B; VECTORS],
}

/// State of query rows within a part, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct RowState {
    /// `QUERY_STRIDE` floats a row, already scaled.
    pub(crate) q: *const f32,
    /// `width` floats a row.
    pub(crate) o: *mut f32,
    /// One a row.
    pub(crate) max: *mut f32,
    /// 16 lanes a row.
    pub(crate) sum: *mut f32,
    /// Head dimension.
    pub(crate) dims: usize,
    /// Head dimension rounded up to whole vectors.
    pub(crate) width: usize,
}

impl RowState {
    /// The rows from `row` on.
    ///
    /// # Safety
    /// The state has more than `row` rows.
    #[inline(always)]
    pub(crate) unsafe fn from(self, row: usize) -> Self {
        // SAFETY: inside the buffers by the caller's promise.
        unsafe {
            Self {
                q: self.q.add(row * QUERY_STRIDE),
                o: self.o.add(row * self.width),
                max: self.max.add(row),
                sum: self.sum.add(row * LANES),
                ..self
            }
        }
    }
}

#[repr(align(64))]
struct Weights<const M: usize>(#[allow(dead_code)] [[f32; STEP]; M]);

/// 64 keys and how many of them each of `M` rows sees.
pub(crate) struct Step<B, const M: usize> {
    pub(crate) counts: [usize; M],
    pub(crate) keys: StepKeys<B>,
}

/// Takes `M` rows over `count` steps of 64 keys; row `r` sees the first `counts[r]` of each.
///
/// # Safety
/// `rows` has `M` rows; the keys can be read for `dims` dimensions (padded to `width` in the values);
/// no count exceeds 64, and the values of counted keys have been written; the processor has the
/// instruction set of `S`.
#[inline(always)]
pub(crate) unsafe fn steps<S: Simd16, E: Element, const M: usize>(
    rows: RowState,
    count: usize,
    mut step: impl FnMut(usize) -> Step<E::Bits, M>,
) {
    let mut weights = [const { std::mem::MaybeUninit::<Weights<M>>::uninit() }; 2];
    let p = [weights[0].as_mut_ptr().cast::<f32>(), weights[1].as_mut_ptr().cast::<f32>()];
    if count == 0 {
        return;
    }
    let mut this = step(0);
    // SAFETY: the caller's promises; the scores of a step are written before they are read.
    unsafe {
        // Nobody may have fetched the first step's values yet.
        all_scores::<S, E, M>(rows, &this.keys, Some(&this.keys.v), p[0]);
        for i in 0..count {
            let (here, there) = (p[i % 2], p[(i + 1) % 2]);
            let shrink = weigh::<S, M>(rows, &this.counts, here);
            // Weights are a long chain of few instructions: the next scores fill the units while it runs.
            let next = (i + 1 < count).then(|| step(i + 1));
            if let Some(next) = &next {
                all_scores::<S, E, M>(rows, &next.keys, None, there);
            }
            all_values::<S, E, M>(rows, &this.counts, &this.keys, (here, &shrink));
            let Some(next) = next else { break };
            this = next;
        }
    }
}

/// Scores of `M` rows against a step's keys; fetches the values at `values_ahead`, if given.
#[inline(always)]
unsafe fn all_scores<S: Simd16, E: Element, const M: usize>(
    rows: RowState,
    keys: &StepKeys<E::Bits>,
    values_ahead: Option<&[*const E::Bits; VECTORS]>,
    p: *mut f32,
) {
    // SAFETY: the promises of `steps`.
    unsafe {
        if S::REGISTERS >= 32 {
            scores::<S, E, M, 4>(rows, keys, values_ahead, 0, p);
        } else {
            for j in 0..VECTORS {
                scores::<S, E, M, 1>(rows, keys, values_ahead, j, p.add(j * LANES));
            }
        }
    }
}

/// Adds the weighted values of a step; `of` is weights and shrinks.
#[inline(always)]
unsafe fn all_values<S: Simd16, E: Element, const M: usize>(
    rows: RowState,
    counts: &[usize; M],
    keys: &StepKeys<E::Bits>,
    (p, shrink): (*const f32, &[S::F; M]),
) {
    // SAFETY: the promises of `steps`.
    unsafe {
        let mut d = 0;
        if S::REGISTERS >= 32 {
            while d + 4 * LANES <= rows.width {
                values::<S, E, M, 4>(rows, counts, keys, (p, shrink, d));
                d += 4 * LANES;
            }
            if d + 2 * LANES <= rows.width {
                values::<S, E, M, 2>(rows, counts, keys, (p, shrink, d));
                d += 2 * LANES;
            }
        }
        while d < rows.width {
            values::<S, E, M, 1>(rows, counts, keys, (p, shrink, d));
            d += LANES;
        }
    }
}

/// Scores of `M` rows against the `N` vectors of keys from `first` on; fetches as many of `values_ahead`, if given.
#[inline(always)]
unsafe fn scores<S: Simd16, E: Element, const M: usize, const N: usize>(
    rows: RowState,
    keys: &StepKeys<E::Bits>,
    values_ahead: Option<&[*const E::Bits; VECTORS]>,
    first: usize,
    out: *mut f32,
) {
    // SAFETY: the promises of `steps`; a prefetch never faults.
    unsafe {
        let mut s = [[S::zero(); N]; M];
        let alone = lines_are_separate::<E>(keys.k_stride);
        for d in 0..rows.dims {
            let mut k = [S::zero(); N];
            for j in 0..N {
                k[j] = E::load::<S>(keys.k[first + j].add(d * keys.k_stride));
            }
            if !E::IS_TILE {
                // With one vector at a time, lines are asked for twice, which was faster on AMD Zen 3 than once.
                for j in 0..N {
                    if alone || j % 2 == 0 {
                        S::prefetch(keys.k_ahead[first + j].wrapping_add(d * keys.k_stride).cast());
                    }
                }
                // Sixteen values lie one after the other: a vector of them for each dimension.
                if let Some(values) = values_ahead
                    && (size_of::<E::Bits>() == 4 || d % 2 == 0)
                {
                    for j in first..first + N {
                        S::prefetch(values[j].wrapping_add(d * LANES).cast());
                    }
                }
            }
            for r in 0..M {
                let q = S::splat(*rows.q.add(r * QUERY_STRIDE + d));
                for j in 0..N {
                    s[r][j] = S::fma(k[j], q, s[r][j]);
                }
            }
        }
        for r in 0..M {
            for j in 0..N {
                S::store(out.add(r * STEP + j * LANES), s[r][j]);
            }
        }
    }
}

/// Whether neighbouring vectors of keys lie in different cache lines.
#[inline(always)]
fn lines_are_separate<E: Element>(k_stride: usize) -> bool {
    size_of::<E::Bits>() == 4 || k_stride == LANES
}

/// Adds the weighted values in `N` vectors of dimensions from `d` on; `of` is weights, shrinks, `d`.
#[inline(always)]
unsafe fn values<S: Simd16, E: Element, const M: usize, const N: usize>(
    rows: RowState,
    counts: &[usize; M],
    keys: &StepKeys<E::Bits>,
    of: (*const f32, &[S::F; M], usize),
) {
    let (p, shrink, d) = of;
    // SAFETY: the promises of `steps`; a prefetch never faults.
    unsafe {
        let o = rows.o.add(d);
        let mut acc = [[S::zero(); N]; M];
        for r in 0..M {
            for j in 0..N {
                acc[r][j] = S::mul(S::load(o.add(r * rows.width + j * LANES)), shrink[r]);
            }
        }
        let mut common = counts[0];
        for r in 1..M {
            common = common.min(counts[r]);
        }
        // A tile is one stretch; pages begin anew every 16 keys.
        let (mut v, mut ahead) = (keys.v[0].wrapping_add(d), keys.v_ahead[0].wrapping_add(d));
        // One loop over all keys: processors fetch ahead for a load that goes on where it was.
        for t in 0..common {
            if !E::IS_TILE && t % LANES == 0 {
                v = keys.v[t / LANES % VECTORS].wrapping_add(d);
                ahead = keys.v_ahead[t / LANES % VECTORS].wrapping_add(d);
            }
            let mut x = [S::zero(); N];
            for j in 0..N {
                x[j] = E::load::<S>(v.add(j * LANES));
            }
            if !E::IS_TILE {
                for j in (0..N).step_by(4 / size_of::<E::Bits>()) {
                    S::prefetch(ahead.wrapping_add(j * LANES).cast());
                }
            }
            for r in 0..M {
                let p = S::splat(*p.add(r * STEP + t));
                for j in 0..N {
                    acc[r][j] = S::fma(x[j], p, acc[r][j]);
                }
            }
            v = v.wrapping_add(keys.v_stride);
            ahead = ahead.wrapping_add(keys.v_stride);
        }
        for r in 0..M {
            for j in 0..N {
                S::store(o.add(r * rows.width + j * LANES), acc[r][j]);
            }
        }
        // On the diagonal a row may see a few keys more than the one before it.
        for r in 0..M {
            for t in common..counts[r] {
                let p = S::splat(*p.add(r * STEP + t));
                let v = keys.v[t / LANES].add(d + t % LANES * keys.v_stride);
                for j in 0..N {
                    let o = o.add(r * rows.width + j * LANES);
                    S::store(o, S::fma(E::load::<S>(v.add(j * LANES)), p, S::load(o)));
                }
            }
        }
    }
}
