//! The vector operations on arrays, in plain Rust: what the others are held to.

use half::f16;

use super::{Kernel, LANES, Simd16};

/// Arrays of 16.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];

/// f32 to bf16, to nearest, ties to even.
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

fn reduce<T: Copy>(mut x: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            x[i] = f(x[i], x[i + width]);
        }
    }
    x[0]
}

fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

// SAFETY, for all blocks below: what a pointer is valid for is the caller's promise.
impl Simd16 for Portable {
    type F = F;
    type I = I;
    const REGISTERS: usize = 4;

    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        unsafe { kernel.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn zero() -> F {
        [0.0; LANES]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> F {
        unsafe { at.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(at: *const f32, n: usize) -> F {
        std::array::from_fn(|i| if i < n { unsafe { at.add(i).read_unaligned() } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> F {
        unsafe { at.cast::<[u16; LANES]>().read_unaligned() }.map(|x| f16::from_bits(x).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> F {
        unsafe { at.cast::<[u16; LANES]>().read_unaligned() }.map(|x| f32::from_bits(u32::from(x) << 16))
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, x: F) {
        unsafe { at.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn store_first(at: *mut f32, x: F, n: usize) {
        for (i, x) in x.into_iter().enumerate().take(n) {
            unsafe { at.add(i).write_unaligned(x) }
        }
    }
    #[inline(always)]
    unsafe fn store_f16(at: *mut u16, x: F) {
        unsafe { at.cast::<[u16; LANES]>().write_unaligned(x.map(|x| f16::from_f32(x).to_bits())) }
    }
    #[inline(always)]
    unsafe fn store_bf16(at: *mut u16, x: F) {
        unsafe { at.cast::<[u16; LANES]>().write_unaligned(x.map(to_bf16)) }
    }
    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        zip(a, b, greater)
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn round_ties_even(x: F) -> F {
        x.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn first(x: F) -> f32 {
        x[0]
    }
    #[inline(always)]
    unsafe fn first_lanes(n: usize, a: F, b: F) -> F {
        std::array::from_fn(|i| if i < n { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn reduce_sum(x: F) -> f32 {
        reduce(x, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn reduce_max(x: F) -> f32 {
        reduce(x, greater)
    }
    #[inline(always)]
    unsafe fn bits_shifted_left_23(x: F) -> F {
        x.map(|x| f32::from_bits(x.to_bits() << 23))
    }

    #[inline(always)]
    unsafe fn bits(x: F) -> I {
        x.map(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    unsafe fn from_bits(x: I) -> F {
        x.map(|x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    unsafe fn to_f(x: I) -> F {
        x.map(|x| x as f32)
    }
    #[inline(always)]
    unsafe fn to_i(x: F) -> I {
        x.map(|x| x.round_ties_even() as i32)
    }

    #[inline(always)]
    unsafe fn zero_i() -> I {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn splat_i(x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load_i(at: *const u8) -> I {
        unsafe { at.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_i(at: *mut u8, x: I) {
        unsafe { at.cast::<I>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8) -> I {
        unsafe { at.cast::<[u8; LANES]>().read() }.map(i32::from)
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const i8) -> I {
        unsafe { at.cast::<[i8; LANES]>().read() }.map(i32::from)
    }
    #[inline(always)]
    unsafe fn store_low_bytes(at: *mut i8, x: I) {
        unsafe { at.cast::<[i8; LANES]>().write(x.map(|x| x as i8)) }
    }
    #[inline(always)]
    unsafe fn store_digits([hi, lo]: [*mut i8; 2], x: [I; 2]) {
        for (i, x) in x.into_iter().flatten().enumerate() {
            // The low byte, taken as signed, and what is left.
            unsafe {
                hi.add(i).write(((x + 128) >> 8) as i8);
                lo.add(i).write(x as i8);
            }
        }
    }
    #[inline(always)]
    unsafe fn add_i(a: I, b: I) -> I {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn add_bytes(a: I, b: I) -> I {
        zip(a, b, |a, b| {
            let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
            i32::from_le_bytes(std::array::from_fn(|i| a[i].wrapping_add(b[i])))
        })
    }
    #[inline(always)]
    unsafe fn and_i(a: I, b: I) -> I {
        zip(a, b, |a, b| a & b)
    }
    #[inline(always)]
    unsafe fn or_i(a: I, b: I) -> I {
        zip(a, b, |a, b| a | b)
    }
    #[inline(always)]
    unsafe fn max_i(a: I, b: I) -> I {
        zip(a, b, i32::max)
    }
    #[inline(always)]
    unsafe fn shl_i(x: I, n: u32) -> I {
        x.map(|x| x << n)
    }
    #[inline(always)]
    unsafe fn shr_i(x: I, n: u32) -> I {
        x.map(|x| (x as u32 >> n) as i32)
    }
    #[inline(always)]
    unsafe fn sar_i(x: I, n: u32) -> I {
        x.map(|x| x >> n)
    }
    #[inline(always)]
    unsafe fn sums_i(x: [I; 8]) -> [i32; 8] {
        x.map(|x| reduce(x, i32::wrapping_add))
    }
    #[inline(always)]
    unsafe fn reduce_max_i(x: I) -> i32 {
        reduce(x, i32::max)
    }
    #[inline(always)]
    unsafe fn dot(acc: I, w: I, a: i32) -> I {
        let a = a.to_le_bytes().map(|a| i32::from(a as i8));
        std::array::from_fn(|i| {
            let w = w[i].to_le_bytes().map(i32::from);
            acc[i] + w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * a[3]
        })
    }
    #[inline(always)]
    unsafe fn dot_narrow(acc: I, w: I, a: i32) -> I {
        unsafe { Self::dot(acc, w, a) }
    }
    #[inline(always)]
    unsafe fn dot_words(acc: I, w: I, x: i32) -> I {
        let product = |w: i32, shift: u32| i32::from((w >> shift) as i16) * i32::from((x >> shift) as i16);
        std::array::from_fn(|i| acc[i] + product(w[i], 0) + product(w[i], 16))
    }
}
