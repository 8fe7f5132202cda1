//! What a key or value is stored as, and how sixteen of them become f32.

use crate::cpu::simd::Simd16;

/// A stored number. `IS_TILE`: it lies in a small tile, one step after the other, and not in the cache's pages.
pub(crate) trait Element {
    type Bits: Copy;
    const IS_TILE: bool = false;

    /// # Safety
    /// Sixteen elements can be read at `at`; the processor has the instruction set of `S`.
    unsafe fn load<S: Simd16>(at: *const Self::Bits) -> S::F;

    /// # Safety
    /// Sixteen elements can be written at `at`; the processor has the instruction set of `S`.
    unsafe fn store<S: Simd16>(at: *mut Self::Bits, x: S::F);
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;
/// f32 in a tile that was converted from the cache and is near.
pub(crate) struct Tile;

// In the impls below the callers' promises are those of the loads and stores they forward to.

impl Element for F32 {
    type Bits = f32;

    #[inline(always)]
    unsafe fn load<S: Simd16>(at: *const f32) -> S::F {
        // SAFETY: forwarded.
        unsafe { S::load(at) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd16>(at: *mut f32, x: S::F) {
        // SAFETY: forwarded.
        unsafe { S::store(at, x) }
    }
}

impl Element for Tile {
    type Bits = f32;
    const IS_TILE: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd16>(at: *const f32) -> S::F {
        // SAFETY: forwarded.
        unsafe { S::load(at) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd16>(at: *mut f32, x: S::F) {
        // SAFETY: forwarded.
        unsafe { S::store(at, x) }
    }
}

impl Element for F16 {
    type Bits = u16;

    #[inline(always)]
    unsafe fn load<S: Simd16>(at: *const u16) -> S::F {
        // SAFETY: forwarded.
        unsafe { S::load_f16(at) }
    }

    /// Saturates: an infinite key would turn every later score of its head into NaN.
    #[inline(always)]
    unsafe fn store<S: Simd16>(at: *mut u16, x: S::F) {
        const LARGEST: f32 = 65504.0;
        // SAFETY: forwarded.
        unsafe { S::store_f16(at, S::min(S::splat(LARGEST), S::max(S::splat(-LARGEST), x))) }
    }
}

impl Element for Bf16 {
    type Bits = u16;

    #[inline(always)]
    unsafe fn load<S: Simd16>(at: *const u16) -> S::F {
        // SAFETY: forwarded.
        unsafe { S::load_bf16(at) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd16>(at: *mut u16, x: S::F) {
        // SAFETY: forwarded.
        unsafe { S::store_bf16(at, x) }
    }
}
