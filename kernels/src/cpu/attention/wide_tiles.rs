//! Queries, keys and values of prompts in the tiles that a matrix unit multiplies: see `wide`. A number x is h, x cut to
//! bf16, and l, x - h rounded to bf16; keys and values in f16 are so exactly.

use super::element::Element;
use super::step::{QUERY_STRIDE, STEP, StepKeys};
use super::wide::{DEPTH, KEY_TILES, ROWS, TILE, depth_steps};
use crate::cpu::simd::{LANES, Simd16};

/// The tiles of the queries of the group that `row` begins or is in, in the memory of rows' queries.
#[inline(always)]
pub(super) fn query_tiles(queries: *const f32, row: usize) -> *const u8 {
    queries.wrapping_add(row / ROWS * ROWS * QUERY_STRIDE).cast()
}

/// High and low bf16 of `a` and `b`: lane i has those of a and, in its upper half, of b.
#[inline(always)]
pub(super) unsafe fn pair<S: Simd16>(a: S::F, b: S::F) -> (S::I, S::I) {
    // SAFETY: the instruction set is the caller's promise.
    unsafe {
        let upper = S::splat_i(0xFFFF_0000_u32 as i32);
        let half = S::splat_i(0x8000);
        let (a_high, b_high) = (S::and_i(S::bits(a), upper), S::and_i(S::bits(b), upper));
        let a_low = S::add_i(S::bits(S::sub(a, S::from_bits(a_high))), half);
        let b_low = S::add_i(S::bits(S::sub(b, S::from_bits(b_high))), half);
        (S::or_i(S::shr_i(a_high, 16), b_high), S::or_i(S::shr_i(a_low, 16), S::and_i(b_low, upper)))
    }
}

/// Puts a row of queries into its tiles.
///
/// # Safety
/// `q` has `dims` floats, `tiles` the tiles of a group; the processor has the instruction set of `S`.
#[inline(always)]
pub(super) unsafe fn put_query<S: Simd16>(
    q: *const f32,
    (dims, scale): (usize, f32),
    row: usize,
    tiles: *mut u8,
) {
    // SAFETY: the caller's promise; nothing beyond `dims` is read.
    unsafe {
        for step in 0..depth_steps(dims) {
            let mut parts = [S::zero(); 2];
            for (i, part) in parts.iter_mut().enumerate() {
                let d = step * DEPTH + i * LANES;
                let lanes = dims.saturating_sub(d).min(LANES);
                *part = S::mul(S::load_first(q.wrapping_add(d), lanes), S::splat(scale));
            }
            let (high, low) = pair::<S>(parts[0], parts[1]);
            let to = tiles.add(step * 2 * TILE + row * 64);
            S::store_i(to, high);
            S::store_i(to.add(TILE), low);
        }
    }
}

/// Fills the tiles of keys, and those of the first `count` values; the others are 0.
///
/// # Safety
/// Keys and values are readable, the values of the first `count` have been written, the tiles have room; the
/// processor has the instruction set of `S`.
#[inline(always)]
pub(super) unsafe fn fill<S: Simd16, E: Element>(
    keys: &StepKeys<E::Bits>,
    (dims, count): (usize, usize),
    (key_tiles, value_tiles): (*mut u8, *mut u8),
) {
    // SAFETY: the caller's promise; dimensions beyond those that are there are not read.
    unsafe {
        let steps = depth_steps(dims);
        for step in 0..steps {
            for i in 0..LANES {
                let d = step * DEPTH + i;
                for tile in 0..KEY_TILES {
                    let (high, low) =
                        pair::<S>(key::<S, E>(keys, tile, d, dims), key::<S, E>(keys, tile, d + LANES, dims));
                    let to = key_tiles.add((step * KEY_TILES + tile) * 2 * TILE + i * 64);
                    S::store_i(to, high);
                    S::store_i(to.add(TILE), low);
                }
            }
        }
        for half in 0..STEP / DEPTH {
            for i in 0..LANES {
                for tile in 0..2 * steps {
                    let d = tile * LANES;
                    let first = half * DEPTH + i;
                    // Weights of 0 meet what stands there.
                    let count = if d < dims { count } else { 0 };
                    let a = value::<S, E>(keys, first, d, count);
                    let b = value::<S, E>(keys, first + LANES, d, count);
                    let (high, low) = pair::<S>(a, b);
                    let to = value_tiles.add((half * 2 * steps + tile) * 2 * TILE + i * 64);
                    S::store_i(to, high);
                    S::store_i(to.add(TILE), low);
                }
            }
        }
    }
}

/// Dimension `d` of 16 keys.
#[inline(always)]
unsafe fn key<S: Simd16, E: Element>(keys: &StepKeys<E::Bits>, tile: usize, d: usize, dims: usize) -> S::F {
    // SAFETY: as in `fill`.
    unsafe { if d < dims { E::load::<S>(keys.k[tile].add(d * keys.k_stride)) } else { S::zero() } }
}

/// 16 dimensions of value `t`, or zeros from `count` on.
#[inline(always)]
unsafe fn value<S: Simd16, E: Element>(keys: &StepKeys<E::Bits>, t: usize, d: usize, count: usize) -> S::F {
    // SAFETY: as in `fill`.
    unsafe {
        if t >= count {
            return S::zero();
        }
        // Finite, since weights of 0 meet it too; the token's key still shows what is not.
        let x = E::load::<S>(keys.v[t / LANES].add(t % LANES * keys.v_stride + d));
        S::min(S::max(x, S::splat(-f32::MAX)), S::splat(f32::MAX))
    }
}
