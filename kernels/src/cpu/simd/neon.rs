//! The vector operations by NEON with the dot product: four quarters of 4 lanes.
//!
//! Closures are fine here, unlike in other instruction sets: all compilations for aarch64 have NEON, and the dot product
//! is assembly that enables itself.

#![allow(clippy::needless_range_loop)] // pointers and quarters advance together

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Kernel, LANES, Simd16};

/// NEON with `sdot`, optional from Armv8.2 on: Neoverse N1 and later.
#[derive(Clone, Copy, Debug)]
pub struct Neon;

pub(crate) fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("neon") && std::arch::is_aarch64_feature_detected!("dotprod")
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run::<Neon>() }
}

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];

/// Four products of signed bytes added to each lane; the intrinsic is not stable yet.
#[inline(always)]
unsafe fn sdot(acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let mut out = acc;
    // SAFETY: touches registers only; the processor has it by the caller's promise.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {out:v}.4s, {a:v}.16b, {b:v}.16b",
            out = inout(vreg) out,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    out
}

/// All bits of the first `n` of 16 lanes.
#[inline(always)]
unsafe fn first_masks(n: usize) -> [uint32x4_t; 4] {
    const NUMBERS: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    // SAFETY: reads inside the array.
    unsafe {
        let n = vdupq_n_u32(n as u32);
        std::array::from_fn(|i| vcltq_u32(vld1q_u32(NUMBERS.as_ptr().add(4 * i)), n))
    }
}

/// One function of all quarters.
macro_rules! each {
    ($f:ident($($a:expr),+)) => {
        unsafe { [$f($($a[0]),+), $f($($a[1]),+), $f($($a[2]),+), $f($($a[3]),+)] }
    };
}

// SAFETY, for all blocks below: the instruction set and what a pointer is valid for are the caller's
// promises.
impl Simd16 for Neon {
    type F = F;
    type I = I;
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        unsafe { call(kernel) }
    }

    #[inline(always)]
    unsafe fn zero() -> F {
        unsafe { Self::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> F {
        std::array::from_fn(|i| unsafe { vld1q_f32(at.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn load_first(at: *const f32, n: usize) -> F {
        let mut lanes = [0.0; LANES];
        unsafe {
            // As bytes, since `at` may lie anywhere.
            std::ptr::copy_nonoverlapping(at.cast::<u8>(), lanes.as_mut_ptr().cast(), 4 * n);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> F {
        std::array::from_fn(|i| unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at.add(4 * i)))) })
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> F {
        std::array::from_fn(|i| unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at.add(4 * i)))) })
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, x: F) {
        for i in 0..4 {
            unsafe { vst1q_f32(at.add(4 * i), x[i]) }
        }
    }
    #[inline(always)]
    unsafe fn store_first(at: *mut f32, x: F, n: usize) {
        let mut lanes = [0.0; LANES];
        unsafe {
            Self::store(lanes.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(lanes.as_ptr().cast::<u8>(), at.cast(), 4 * n);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(at: *mut u16, x: F) {
        for i in 0..4 {
            unsafe { vst1_u16(at.add(4 * i), vreinterpret_u16_f16(vcvt_f16_f32(x[i]))) }
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(at: *mut u16, x: F) {
        for i in 0..4 {
            unsafe {
                let bits = vreinterpretq_u32_f32(x[i]);
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
                let quiet = vorrq_u32(bits, vdupq_n_u32(0x40_0000));
                let bits = vbslq_u32(vceqq_f32(x[i], x[i]), rounded, quiet);
                vst1_u16(at.add(4 * i), vshrn_n_u32::<16>(bits));
            }
        }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        each!(vaddq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        each!(vsubq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        each!(vmulq_f32(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        each!(vdivq_f32(a, b))
    }
    // Not `vmaxq_f32`, which gives NaN if either is one, and orders zeros.
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        std::array::from_fn(|i| unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        std::array::from_fn(|i| unsafe { vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        each!(vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    unsafe fn round_ties_even(x: F) -> F {
        each!(vrndnq_f32(x))
    }
    #[inline(always)]
    unsafe fn first(x: F) -> f32 {
        unsafe { vgetq_lane_f32::<0>(x[0]) }
    }
    #[inline(always)]
    unsafe fn first_lanes(n: usize, a: F, b: F) -> F {
        let masks = unsafe { first_masks(n) };
        each!(vbslq_f32(masks, a, b))
    }
    #[inline(always)]
    unsafe fn reduce_sum(x: F) -> f32 {
        unsafe {
            let x = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(x: F) -> f32 {
        let greater = |a: f32, b: f32| if a > b { a } else { b };
        unsafe {
            let [x0, x1, x2, x3] = x;
            let [x0, x1, ..] = Self::max([x0, x1, x0, x1], [x2, x3, x2, x3]);
            let [x, ..] = Self::max([x0; 4], [x1; 4]);
            let (a, b) = (vgetq_lane_f32::<0>(x), vgetq_lane_f32::<1>(x));
            let (c, d) = (vgetq_lane_f32::<2>(x), vgetq_lane_f32::<3>(x));
            greater(greater(a, c), greater(b, d))
        }
    }
    #[inline(always)]
    unsafe fn bits_shifted_left_23(x: F) -> F {
        x.map(|x| unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(x))) })
    }

    #[inline(always)]
    unsafe fn bits(x: F) -> I {
        each!(vreinterpretq_s32_f32(x))
    }
    #[inline(always)]
    unsafe fn from_bits(x: I) -> F {
        each!(vreinterpretq_f32_s32(x))
    }
    #[inline(always)]
    unsafe fn to_f(x: I) -> F {
        each!(vcvtq_f32_s32(x))
    }
    #[inline(always)]
    unsafe fn to_i(x: F) -> I {
        each!(vcvtnq_s32_f32(x))
    }

    #[inline(always)]
    unsafe fn zero_i() -> I {
        unsafe { Self::splat_i(0) }
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> I {
        unsafe { [vdupq_n_s32(x); 4] }
    }
    #[inline(always)]
    unsafe fn load_i(at: *const u8) -> I {
        std::array::from_fn(|i| unsafe { vreinterpretq_s32_u8(vld1q_u8(at.add(16 * i))) })
    }
    #[inline(always)]
    unsafe fn store_i(at: *mut u8, x: I) {
        for i in 0..4 {
            unsafe { vst1q_u8(at.add(16 * i), vreinterpretq_u8_s32(x[i])) }
        }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8) -> I {
        unsafe {
            let bytes = vld1q_u8(at);
            let halves = [vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes))];
            let low = halves.map(|half| vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(half))));
            let high = halves.map(|half| vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(half))));
            [low[0], high[0], low[1], high[1]]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const i8) -> I {
        unsafe {
            let bytes = vld1q_s8(at);
            let halves = [vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes))];
            let low = halves.map(|half| vmovl_s16(vget_low_s16(half)));
            let high = halves.map(|half| vmovl_s16(vget_high_s16(half)));
            [low[0], high[0], low[1], high[1]]
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(at: *mut i8, x: I) {
        unsafe {
            let low = vcombine_s16(vmovn_s32(x[0]), vmovn_s32(x[1]));
            let high = vcombine_s16(vmovn_s32(x[2]), vmovn_s32(x[3]));
            vst1q_s8(at, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
        }
    }
    #[inline(always)]
    unsafe fn store_digits([hi, lo]: [*mut i8; 2], x: [I; 2]) {
        unsafe {
            for (i, x) in x.into_iter().enumerate() {
                let high = Self::sar_i(Self::add_i(x, Self::splat_i(128)), 8);
                Self::store_low_bytes(hi.add(i * 16), high);
                Self::store_low_bytes(lo.add(i * 16), x);
            }
        }
    }
    #[inline(always)]
    unsafe fn add_i(a: I, b: I) -> I {
        each!(vaddq_s32(a, b))
    }
    #[inline(always)]
    unsafe fn add_bytes(a: I, b: I) -> I {
        std::array::from_fn(|i| unsafe {
            vreinterpretq_s32_u8(vaddq_u8(vreinterpretq_u8_s32(a[i]), vreinterpretq_u8_s32(b[i])))
        })
    }
    #[inline(always)]
    unsafe fn and_i(a: I, b: I) -> I {
        each!(vandq_s32(a, b))
    }
    #[inline(always)]
    unsafe fn or_i(a: I, b: I) -> I {
        each!(vorrq_s32(a, b))
    }
    #[inline(always)]
    unsafe fn max_i(a: I, b: I) -> I {
        each!(vmaxq_s32(a, b))
    }
    #[inline(always)]
    unsafe fn shl_i(x: I, n: u32) -> I {
        x.map(|x| unsafe { vshlq_s32(x, vdupq_n_s32(n as i32)) })
    }
    #[inline(always)]
    unsafe fn shr_i(x: I, n: u32) -> I {
        // A left shift by a negative number is one to the right.
        x.map(|x| unsafe {
            vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x), vdupq_n_s32(-(n as i32))))
        })
    }
    #[inline(always)]
    unsafe fn sar_i(x: I, n: u32) -> I {
        x.map(|x| unsafe { vshlq_s32(x, vdupq_n_s32(-(n as i32))) })
    }
    #[inline(always)]
    unsafe fn sums_i(x: [I; 8]) -> [i32; 8] {
        x.map(|x| unsafe { vaddvq_s32(vaddq_s32(vaddq_s32(x[0], x[1]), vaddq_s32(x[2], x[3]))) })
    }
    #[inline(always)]
    unsafe fn reduce_max_i(x: I) -> i32 {
        unsafe { vmaxvq_s32(vmaxq_s32(vmaxq_s32(x[0], x[1]), vmaxq_s32(x[2], x[3]))) }
    }
    #[inline(always)]
    unsafe fn dot(acc: I, w: I, a: i32) -> I {
        unsafe {
            // `sdot` takes signed bytes: w = (w - 128) + 64 + 64.
            let (a, half) = (vdupq_n_s32(a), vreinterpretq_s32_u8(vdupq_n_u8(64)));
            let offset = sdot(sdot(vdupq_n_s32(0), half, a), half, a);
            let top = vdupq_n_s32(0x8080_8080_u32 as i32);
            std::array::from_fn(|i| sdot(vaddq_s32(acc[i], offset), veorq_s32(w[i], top), a))
        }
    }
    #[inline(always)]
    unsafe fn dot_narrow(acc: I, w: I, a: i32) -> I {
        unsafe {
            let a = vdupq_n_s32(a);
            std::array::from_fn(|i| sdot(acc[i], w[i], a))
        }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: I, w: I, x: i32) -> I {
        unsafe {
            let x = vreinterpretq_s16_s32(vdupq_n_s32(x));
            std::array::from_fn(|i| {
                let w = vreinterpretq_s16_s32(w[i]);
                let low = vmull_s16(vget_low_s16(w), vget_low_s16(x));
                vaddq_s32(acc[i], vpaddq_s32(low, vmull_high_s16(w, x)))
            })
        }
    }
}
