//! Activations as balanced digits of int8, in blocks of 32; four blocks share a scale, so that it costs little to apply.
//!
//! x = s X with an integer |X| <= 32639 = 256 hi + lo and both digits in -128..=127, so the error is at
//! most s / 2 = amax / 65278, and all products with the weights' integers are exact in i32. That, and the
//! fixed order of the few float operations a block, is why every kernel gives the same bits.
//! Two digits change no greedy answer against f32 (120 prompts measured); one changes two of three.

use super::memory::{AllocError, Number, Scratch};
use super::norm::rms_norm_row;
use super::simd::{Kernel, LANES, Simd16};

pub(crate) mod sizes;
#[cfg(test)]
mod tests;
pub(crate) mod wide;

use sizes::ActivationSizes;
use wide::WideRow;

/// Activations of a block.
pub(crate) const BLOCK: usize = 32;
/// Blocks that share a scale, from the start of a row; the last ones of a row may be fewer.
pub(crate) const SCALE_BLOCKS: usize = 4;
/// The largest |X|: 127 * 256 + 127.
pub(crate) const LARGEST: f32 = 32639.0;
/// Blocks of nothing larger than this are taken as 0: `LARGEST` divided by it must be finite.
pub(crate) const TINY: f32 = 1e-30;

/// 32 activations. Sums are of the block, of its first and of its second half.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct DigitBlock {
    /// hi, then lo; or words, see `Form`.
    pub(crate) digits: [[i8; BLOCK]; 2],
    /// s; NaN if an activation that shares it was not finite, so that it shows in the result.
    pub(crate) scale: f32,
    /// The sums of X: what multiplies a weight's m.
    pub(crate) sums: [f32; 3],
    /// The same, negative, as tiles read them: what multiplies a weight's offset.
    pub(crate) negative: [i32; 3],
    unused: u32,
}

/// What a block of activations holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Digits,
    /// X itself in place of its digits, in the order of the words of weights: of each four columns the first and the third,
    /// then the second and the fourth.
    Words,
}

impl DigitBlock {
    pub(crate) const ZERO: Self =
        Self { digits: [[0; BLOCK]; 2], scale: 0.0, sums: [0.0; 3], negative: [0; 3], unused: 0 };

    /// The pairs of X of a block of words.
    #[inline(always)]
    pub(crate) fn words(&self) -> *const i32 {
        (&raw const self.digits).cast()
    }
}

// SAFETY: `repr(C)` without padding (64 + 16 + 12 + 4 bytes), made of numbers.
unsafe impl Number for DigitBlock {}

/// RMSNorm of an input row.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// As wide as the input.
    pub weight: &'a [f32],
    pub eps: f32,
}

/// The inputs of a linear layer in the forms its kernels read, kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    digits: Scratch<DigitBlock>,
    wide_digits: Scratch<i8>,
    wide_scales: Scratch<f32>,
    floats: Scratch<f32>,
}

impl Activations {
    /// Room for inputs of these sizes; allocates only when there was less.
    pub(crate) fn reserve(&mut self, sizes: ActivationSizes) -> Result<(), AllocError> {
        let ActivationSizes { digits, wide_digits, wide_scales, floats } = sizes;
        self.digits.reserve(digits)?;
        self.wide_digits.reserve(wide_digits)?;
        self.wide_scales.reserve(wide_scales)?;
        self.floats.reserve(floats)
    }

    /// Before a call with an input of these sizes.
    pub(crate) fn provide(&mut self, sizes: ActivationSizes) -> Result<(), AllocError> {
        let ActivationSizes { digits, wide_digits, wide_scales, floats } = sizes;
        self.digits.provide(digits)?;
        self.wide_digits.provide(wide_digits)?;
        self.wide_scales.provide(wide_scales)?;
        self.floats.provide(floats)
    }

    pub(crate) fn bytes(&self) -> usize {
        let Self { digits, wide_digits, wide_scales, floats } = self;
        digits.bytes() + wide_digits.bytes() + wide_scales.bytes() + floats.bytes()
    }

    pub(crate) fn digits_mut(&mut self) -> *mut DigitBlock {
        self.digits.as_mut_ptr()
    }

    /// Digits and scales of wide rows.
    pub(crate) fn wide_mut(&mut self) -> (*mut i8, *mut f32) {
        (self.wide_digits.as_mut_ptr(), self.wide_scales.as_mut_ptr())
    }

    pub(crate) fn floats_mut(&mut self) -> *mut f32 {
        self.floats.as_mut_ptr()
    }
}

/// Normalises one row and takes it apart.
pub(crate) struct PrepareRow<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) norm: Option<Norm<'a>>,
    /// Gets the (normalised) row; as wide as `x`.
    pub(crate) floats: Option<&'a mut [f32]>,
    pub(crate) digits: DigitRow<'a>,
}

/// Where a row's digits go; activations are whole blocks of 32.
pub(crate) enum DigitRow<'a> {
    /// None if digits are not wanted.
    Blocks(&'a mut [DigitBlock], Form),
    Wide(WideRow),
}

impl Kernel for PrepareRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: the slices have the widths that the fields say; the rest is the caller's promise.
        unsafe {
            let mut x = self.x;
            if let Some(floats) = self.floats {
                match self.norm {
                    Some(norm) => rms_norm_row::<S>(x, norm.weight, norm.eps, floats),
                    None => floats.copy_from_slice(x),
                }
                x = floats;
            }
            match self.digits {
                DigitRow::Blocks(blocks, form) => quantise::<S>(x.as_chunks::<BLOCK>().0, blocks, form),
                DigitRow::Wide(row) => row.put::<S>(x),
            }
        }
    }
}

/// Takes a row apart.
///
/// # Safety
/// The processor has the instruction set of `S`.
#[inline(always)]
unsafe fn quantise<S: Simd16>(x: &[[f32; BLOCK]], out: &mut [DigitBlock], form: Form) {
    // What all digits wait for, a long chain of few instructions, goes on for several scales at once.
    const SCALES: usize = 8;
    let chunk = SCALES * SCALE_BLOCKS;
    for (x, out) in x.chunks(chunk).zip(out.chunks_mut(chunk)) {
        let mut largest = [0.0; SCALES];
        for (x, largest) in x.chunks(SCALE_BLOCKS).zip(&mut largest) {
            // SAFETY: the caller's promise.
            *largest = unsafe { largest_size::<S>(x.as_flattened()) };
        }
        for ((x, out), largest) in x.chunks(SCALE_BLOCKS).zip(out.chunks_mut(SCALE_BLOCKS)).zip(largest) {
            // SAFETY: as above.
            unsafe { put_scaled::<S>(x, largest, (out, form)) };
        }
    }
}

/// The largest size of numbers that are whole vectors, NaN if there is one.
#[inline(always)]
unsafe fn largest_size<S: Simd16>(x: &[f32]) -> f32 {
    // SAFETY: whole vectors; the rest is the caller's promise.
    unsafe {
        // As integers, the bits of positive floats have their order, with NaN on top.
        let sign_off = S::splat_i(i32::MAX);
        let mut sizes = S::zero_i();
        for x in x.as_chunks::<LANES>().0 {
            sizes = S::max_i(sizes, S::and_i(S::bits(S::load(x.as_ptr())), sign_off));
        }
        f32::from_bits(S::reduce_max_i(sizes) as u32)
    }
}

/// Takes blocks that share a scale apart.
#[inline(always)]
unsafe fn put_scaled<S: Simd16>(x: &[[f32; BLOCK]], largest: f32, (out, form): (&mut [DigitBlock], Form)) {
    if !(TINY..=f32::MAX).contains(&largest) {
        let scale = if largest < TINY { 0.0 } else { f32::NAN };
        out.fill(DigitBlock { scale, ..DigitBlock::ZERO });
        return;
    }
    let scales = (largest / LARGEST, LARGEST / largest);
    // SAFETY: the caller's promise.
    unsafe {
        match (x.as_array(), out.as_mut_array()) {
            (Some(x), Some(out)) => put_blocks::<S, SCALE_BLOCKS>(x, scales, (out, form)),
            _ => {
                for (x, out) in x.iter().zip(out) {
                    put_blocks::<S, 1>(&[*x], scales, (std::array::from_mut(out), form));
                }
            }
        }
    }
}

/// The scale, the digits or words of blocks that share it, and their sums.
#[inline(always)]
unsafe fn put_blocks<S: Simd16, const N: usize>(
    x: &[[f32; BLOCK]; N],
    (scale, inverse): (f32, f32),
    (out, form): (&mut [DigitBlock; N], Form),
) {
    // SAFETY: a block has 32 floats, each row of its digits 32 bytes; the rest is the caller's promise.
    unsafe {
        let inverse = S::splat(inverse);
        // Halves of up to four blocks.
        let mut halves = [S::zero_i(); 2 * SCALE_BLOCKS];
        for i in 0..N {
            for j in 0..2 {
                let x = S::load(x[i].as_ptr().add(j * LANES));
                halves[2 * i + j] = S::to_i(S::mul(x, inverse));
            }
            let [hi, lo] = &mut out[i].digits;
            let x = [halves[2 * i], halves[2 * i + 1]];
            match form {
                Form::Digits => S::store_digits([hi.as_mut_ptr(), lo.as_mut_ptr()], x),
                Form::Words => put_words::<S>(x, &mut out[i].digits),
            }
        }
        let sums = S::sums_i(halves);
        for i in 0..N {
            let (first, second) = (sums[2 * i], sums[2 * i + 1]);
            out[i].scale = scale;
            out[i].sums = [(first + second) as f32, first as f32, second as f32];
            out[i].negative = [-(first + second), -first, -second];
        }
    }
}

/// X of 32 columns as words: see `Form::Words`.
#[inline(always)]
unsafe fn put_words<S: Simd16>(x: [S::I; 2], out: &mut [[i8; BLOCK]; 2]) {
    let mut numbers = [[0i32; 4]; BLOCK / 4];
    // SAFETY: two vectors of 64 bytes; the rest is the caller's promise.
    unsafe {
        let start = numbers.as_mut_ptr().cast::<u8>();
        S::store_i(start, x[0]);
        S::store_i(start.add(64), x[1]);
    }
    let words = numbers.map(|x| [x[0], x[2], x[1], x[3]].map(|x| x as i16));
    // SAFETY: both have 64 bytes.
    unsafe { out.as_mut_ptr().cast::<[[i16; 4]; BLOCK / 4]>().write_unaligned(words) };
}
