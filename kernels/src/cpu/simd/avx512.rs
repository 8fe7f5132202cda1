//! The vector operations by AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::{Kernel, Simd16};

/// AVX-512 F, BW, DQ, VL and VNNI: every server processor with VNNI has them.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

pub(crate) fn available() -> bool {
    super::avx2::available()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's promise.
    unsafe { kernel.run::<Avx512>() }
}

#[inline(always)]
fn first_mask(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as u16
}

// SAFETY, for all blocks below: the instruction set and what a pointer is valid for are the caller's
// promises.
impl Simd16 for Avx512 {
    type F = __m512;
    type I = __m512i;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        unsafe { call(kernel) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(at) }
    }
    #[inline(always)]
    unsafe fn load_first(at: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first_mask(n), at) }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(at, x) }
    }
    #[inline(always)]
    unsafe fn store_first(at: *mut f32, x: __m512, n: usize) {
        unsafe { _mm512_mask_storeu_ps(at, first_mask(n), x) }
    }
    #[inline(always)]
    unsafe fn store_f16(at: *mut u16, x: __m512) {
        unsafe {
            let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            _mm256_storeu_si256(at.cast(), half);
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(at: *mut u16, x: __m512) {
        unsafe {
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let bits = _mm512_mask_mov_epi32(rounded, nan, quiet);
            _mm256_storeu_si256(at.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits)));
        }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn round_ties_even(x: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }
    #[inline(always)]
    unsafe fn first(x: __m512) -> f32 {
        unsafe { _mm512_cvtss_f32(x) }
    }
    #[inline(always)]
    unsafe fn first_lanes(n: usize, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_mov_ps(b, first_mask(n), a) }
    }
    #[inline(always)]
    unsafe fn reduce_sum(x: __m512) -> f32 {
        unsafe {
            super::avx2::sum_8(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)))
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(x: __m512) -> f32 {
        unsafe {
            super::avx2::max_8(_mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)))
        }
    }
    #[inline(always)]
    unsafe fn bits_shifted_left_23(x: __m512) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(x))) }
    }

    #[inline(always)]
    unsafe fn bits(x: __m512) -> __m512i {
        unsafe { _mm512_castps_si512(x) }
    }
    #[inline(always)]
    unsafe fn from_bits(x: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(x) }
    }
    #[inline(always)]
    unsafe fn to_f(x: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(x) }
    }
    #[inline(always)]
    unsafe fn to_i(x: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(x) }
    }

    #[inline(always)]
    unsafe fn zero_i() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn load_i(at: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i(at: *mut u8, x: __m512i) {
        unsafe { _mm512_storeu_si512(at.cast(), x) }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8) -> __m512i {
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const i8) -> __m512i {
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast())) }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(at: *mut i8, x: __m512i) {
        unsafe { _mm_storeu_si128(at.cast(), _mm512_cvtepi32_epi8(x)) }
    }
    #[inline(always)]
    unsafe fn store_digits([hi, lo]: [*mut i8; 2], x: [__m512i; 2]) {
        unsafe {
            // Plus 128 the high byte is hi, the low one lo with its highest bit turned.
            let words = _mm512_add_epi16(_mm512_packs_epi32(x[0], x[1]), _mm512_set1_epi16(128));
            // A quarter of a vector has four numbers of each: the high bytes of the first, of the second, then low ones.
            let order = _mm_setr_epi8(1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14);
            let bytes = _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            _mm256_storeu_si256(hi.cast(), _mm512_castsi512_si256(bytes));
            let low = _mm256_xor_si256(_mm512_extracti64x4_epi64::<1>(bytes), _mm256_set1_epi8(-128));
            _mm256_storeu_si256(lo.cast(), low);
        }
    }
    #[inline(always)]
    unsafe fn add_i(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn add_bytes(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi8(a, b) }
    }
    #[inline(always)]
    unsafe fn and_i(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn or_i(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn max_i(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_max_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn shl_i(x: __m512i, n: u32) -> __m512i {
        unsafe { _mm512_sllv_epi32(x, _mm512_set1_epi32(n as i32)) }
    }
    #[inline(always)]
    unsafe fn shr_i(x: __m512i, n: u32) -> __m512i {
        unsafe { _mm512_srlv_epi32(x, _mm512_set1_epi32(n as i32)) }
    }
    #[inline(always)]
    unsafe fn sar_i(x: __m512i, n: u32) -> __m512i {
        unsafe { _mm512_srav_epi32(x, _mm512_set1_epi32(n as i32)) }
    }
    #[inline(always)]
    unsafe fn sums_i(x: [__m512i; 8]) -> [i32; 8] {
        unsafe {
            let (mut eights, mut fours) = ([x[0]; 4], [x[0]; 2]);
            for i in 0..4 {
                let (x, y) = (x[2 * i], x[2 * i + 1]);
                let first = _mm512_shuffle_i64x2::<0b01_00_01_00>(x, y);
                eights[i] = _mm512_add_epi32(first, _mm512_shuffle_i64x2::<0b11_10_11_10>(x, y));
            }
            // Four lanes of each, one behind the other.
            for i in 0..2 {
                let (x, y) = (eights[2 * i], eights[2 * i + 1]);
                let even = _mm512_shuffle_i64x2::<0b10_00_10_00>(x, y);
                fours[i] = _mm512_add_epi32(even, _mm512_shuffle_i64x2::<0b11_01_11_01>(x, y));
            }
            let [x, y] = fours;
            let sums = _mm512_add_epi32(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
            let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b10_11_00_01>(sums));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
            let sums = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, sums));
            std::mem::transmute::<__m256i, [i32; 8]>(sums)
        }
    }
    #[inline(always)]
    unsafe fn reduce_max_i(x: __m512i) -> i32 {
        unsafe { _mm512_reduce_max_epi32(x) }
    }
    #[inline(always)]
    unsafe fn dot(acc: __m512i, w: __m512i, a: i32) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(a)) }
    }
    #[inline(always)]
    unsafe fn dot_narrow(acc: __m512i, w: __m512i, a: i32) -> __m512i {
        unsafe { Self::dot(acc, w, a) }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: __m512i, w: __m512i, x: i32) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(acc, w, _mm512_set1_epi32(x)) }
    }
}
