//! The vector operations by AVX2, FMA and F16C: two halves of 8 lanes.

use std::arch::x86_64::*;

use super::{Kernel, Simd16};

/// AVX2, FMA and F16C: nearly every x86 processor since 2013.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

pub(crate) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run::<Avx2>() }
}

/// Lane i takes lane i + 4, then i + 2, i + 1.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(crate) unsafe fn sum_8(x: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

/// In the order of `sum_8`.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(crate) unsafe fn max_8(x: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

/// All bits of the first `n` of 16 lanes.
#[inline(always)]
unsafe fn first_masks(n: usize) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let n = _mm256_set1_epi32(n as i32);
        let low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
        [_mm256_cmpgt_epi32(n, low), _mm256_cmpgt_epi32(n, high)]
    }
}

/// The bf16 of each lane in its low 16 bits.
#[inline(always)]
unsafe fn to_bf16(x: __m256) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan))
    }
}

/// One function of both halves.
macro_rules! both {
    ($f:ident($($a:ident),+)) => {
        unsafe { [$f($($a[0]),+), $f($($a[1]),+)] }
    };
}

// SAFETY, for all blocks below: the instruction set and what a pointer is valid for are the caller's
// promises.
impl Simd16 for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    const REGISTERS: usize = 8;
    const HAS_DOTS: bool = false;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        unsafe { call(kernel) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        unsafe { [_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::F {
        unsafe { [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))] }
    }
    #[inline(always)]
    unsafe fn load_first(at: *const f32, n: usize) -> Self::F {
        unsafe {
            let masks = first_masks(n);
            [_mm256_maskload_ps(at, masks[0]), _mm256_maskload_ps(at.wrapping_add(8), masks[1])]
        }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> Self::F {
        unsafe {
            let low = _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
            [low, _mm256_cvtph_ps(_mm_loadu_si128(at.add(8).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> Self::F {
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.add(8).cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, x: Self::F) {
        unsafe {
            _mm256_storeu_ps(at, x[0]);
            _mm256_storeu_ps(at.add(8), x[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_first(at: *mut f32, x: Self::F, n: usize) {
        unsafe {
            let masks = first_masks(n);
            _mm256_maskstore_ps(at, masks[0], x[0]);
            _mm256_maskstore_ps(at.wrapping_add(8), masks[1], x[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_f16(at: *mut u16, x: Self::F) {
        unsafe {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
            _mm_storeu_si128(at.cast(), _mm256_cvtps_ph::<NEAREST>(x[0]));
            _mm_storeu_si128(at.add(8).cast(), _mm256_cvtps_ph::<NEAREST>(x[1]));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(at: *mut u16, x: Self::F) {
        unsafe {
            let packed = _mm256_packus_epi32(to_bf16(x[0]), to_bf16(x[1]));
            _mm256_storeu_si256(at.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    unsafe fn round_ties_even(x: Self::F) -> Self::F {
        unsafe {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            [_mm256_round_ps::<NEAREST>(x[0]), _mm256_round_ps::<NEAREST>(x[1])]
        }
    }
    #[inline(always)]
    unsafe fn first(x: Self::F) -> f32 {
        unsafe { _mm256_cvtss_f32(x[0]) }
    }
    #[inline(always)]
    unsafe fn first_lanes(n: usize, a: Self::F, b: Self::F) -> Self::F {
        unsafe {
            let [low, high] = first_masks(n);
            [
                _mm256_blendv_ps(b[0], a[0], _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(b[1], a[1], _mm256_castsi256_ps(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn reduce_sum(x: Self::F) -> f32 {
        unsafe { sum_8(_mm256_add_ps(x[0], x[1])) }
    }
    #[inline(always)]
    unsafe fn reduce_max(x: Self::F) -> f32 {
        unsafe { max_8(_mm256_max_ps(x[0], x[1])) }
    }
    #[inline(always)]
    unsafe fn bits_shifted_left_23(x: Self::F) -> Self::F {
        unsafe { Self::from_bits(Self::shl_i(Self::bits(x), 23)) }
    }

    #[inline(always)]
    unsafe fn bits(x: Self::F) -> Self::I {
        both!(_mm256_castps_si256(x))
    }
    #[inline(always)]
    unsafe fn from_bits(x: Self::I) -> Self::F {
        both!(_mm256_castsi256_ps(x))
    }
    #[inline(always)]
    unsafe fn to_f(x: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps(x))
    }
    #[inline(always)]
    unsafe fn to_i(x: Self::F) -> Self::I {
        both!(_mm256_cvtps_epi32(x))
    }

    #[inline(always)]
    unsafe fn zero_i() -> Self::I {
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> Self::I {
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    unsafe fn load_i(at: *const u8) -> Self::I {
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn store_i(at: *mut u8, x: Self::I) {
        unsafe {
            _mm256_storeu_si256(at.cast(), x[0]);
            _mm256_storeu_si256(at.add(32).cast(), x[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8) -> Self::I {
        unsafe {
            let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()));
            [low, _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(8).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const i8) -> Self::I {
        unsafe {
            let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()));
            [low, _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(8).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(at: *mut i8, x: Self::I) {
        unsafe {
            // The low byte of each lane to the front of its half, then both halves side by side.
            let order = _mm256_setr_epi8(
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, //
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
            );
            for (i, x) in x.into_iter().enumerate() {
                let bytes = _mm256_shuffle_epi8(x, order);
                let bytes =
                    _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
                _mm_storel_epi64(at.add(i * 8).cast(), bytes);
            }
        }
    }
    #[inline(always)]
    unsafe fn store_digits(to: [*mut i8; 2], x: [Self::I; 2]) {
        unsafe {
            // Of each half of the lanes four numbers of each of the four vectors, in this order.
            let (mut hi, mut lo) = ([x[0][0]; 2], [x[0][0]; 2]);
            for i in 0..2 {
                let words = _mm256_packs_epi32(x[i][0], x[i][1]);
                hi[i] = _mm256_srai_epi16::<8>(_mm256_add_epi16(words, _mm256_set1_epi16(128)));
                lo[i] = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(words));
            }
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            for (to, [x, y]) in to.into_iter().zip([hi, lo]) {
                let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(x, y), order);
                _mm256_storeu_si256(to.cast(), bytes);
            }
        }
    }
    #[inline(always)]
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    unsafe fn add_bytes(a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_add_epi8(a, b))
    }
    #[inline(always)]
    unsafe fn and_i(a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_and_si256(a, b))
    }
    #[inline(always)]
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_or_si256(a, b))
    }
    #[inline(always)]
    unsafe fn max_i(a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_max_epi32(a, b))
    }
    #[inline(always)]
    unsafe fn shl_i(x: Self::I, n: u32) -> Self::I {
        unsafe {
            let n = _mm256_set1_epi32(n as i32);
            [_mm256_sllv_epi32(x[0], n), _mm256_sllv_epi32(x[1], n)]
        }
    }
    #[inline(always)]
    unsafe fn shr_i(x: Self::I, n: u32) -> Self::I {
        unsafe {
            let n = _mm256_set1_epi32(n as i32);
            [_mm256_srlv_epi32(x[0], n), _mm256_srlv_epi32(x[1], n)]
        }
    }
    #[inline(always)]
    unsafe fn sar_i(x: Self::I, n: u32) -> Self::I {
        unsafe {
            let n = _mm256_set1_epi32(n as i32);
            [_mm256_srav_epi32(x[0], n), _mm256_srav_epi32(x[1], n)]
        }
    }
    #[inline(always)]
    unsafe fn sums_i(x: [Self::I; 8]) -> [i32; 8] {
        unsafe {
            let (mut pairs, mut fours) = ([x[0][0]; 4], [x[0][0]; 2]);
            for i in 0..4 {
                let [x, y] = [x[2 * i], x[2 * i + 1]];
                pairs[i] = _mm256_hadd_epi32(_mm256_add_epi32(x[0], x[1]), _mm256_add_epi32(y[0], y[1]));
            }
            for i in 0..2 {
                fours[i] = _mm256_hadd_epi32(pairs[2 * i], pairs[2 * i + 1]);
            }
            // Each half has sums over its own lanes.
            let [x, y] = fours;
            let low = _mm256_permute2x128_si256::<0x20>(x, y);
            let sums = _mm256_add_epi32(low, _mm256_permute2x128_si256::<0x31>(x, y));
            std::mem::transmute::<__m256i, [i32; 8]>(sums)
        }
    }
    #[inline(always)]
    unsafe fn reduce_max_i(x: Self::I) -> i32 {
        unsafe {
            let x = _mm256_max_epi32(x[0], x[1]);
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
        }
    }
    #[inline(always)]
    unsafe fn dot(acc: Self::I, w: Self::I, a: i32) -> Self::I {
        unsafe {
            // Even and odd bytes as 16-bit numbers: two products of at most 255 * 128 each fit `madd`.
            let a = _mm256_set1_epi32(a);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(a));
            let odd = _mm256_srai_epi16::<8>(a);
            let low = _mm256_set1_epi16(0xFF);
            let mut out = acc;
            for i in 0..2 {
                let e = _mm256_madd_epi16(_mm256_and_si256(w[i], low), even);
                let o = _mm256_madd_epi16(_mm256_srli_epi16::<8>(w[i]), odd);
                out[i] = _mm256_add_epi32(out[i], _mm256_add_epi32(e, o));
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn dot_narrow(acc: Self::I, w: Self::I, a: i32) -> Self::I {
        unsafe {
            // 2 * 127 * 128 fits 16 bits, so `maddubs` does not saturate.
            let products = Self::gather(Self::zero_i(), w, a);
            Self::add_i(acc, Self::gathered(products))
        }
    }
    #[inline(always)]
    unsafe fn gather(acc: Self::I, w: Self::I, a: i32) -> Self::I {
        unsafe {
            let a = _mm256_set1_epi32(a);
            [
                _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(w[0], a)),
                _mm256_add_epi16(acc[1], _mm256_maddubs_epi16(w[1], a)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn gathered(acc: Self::I) -> Self::I {
        unsafe {
            let ones = _mm256_set1_epi16(1);
            [_mm256_madd_epi16(acc[0], ones), _mm256_madd_epi16(acc[1], ones)]
        }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: Self::I, w: Self::I, x: i32) -> Self::I {
        unsafe {
            let x = _mm256_set1_epi32(x);
            [
                _mm256_add_epi32(acc[0], _mm256_madd_epi16(w[0], x)),
                _mm256_add_epi32(acc[1], _mm256_madd_epi16(w[1], x)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot_whole(acc: Self::I, w: Self::I, [hi, lo]: [i32; 2]) -> Self::I {
        unsafe {
            let (hi, lo) = (_mm256_set1_epi32(hi), _mm256_set1_epi32(lo));
            let low = _mm256_set1_epi16(0xFF);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(lo));
            let even = _mm256_add_epi16(_mm256_slli_epi16::<8>(hi), even);
            let odd = _mm256_add_epi16(_mm256_andnot_si256(low, hi), _mm256_srai_epi16::<8>(lo));
            let mut out = acc;
            for i in 0..2 {
                let e = _mm256_madd_epi16(_mm256_and_si256(w[i], low), even);
                let o = _mm256_madd_epi16(_mm256_srli_epi16::<8>(w[i]), odd);
                out[i] = _mm256_add_epi32(out[i], _mm256_add_epi32(e, o));
            }
            out
        }
    }
}
