//! Estimates of products by activations of 8 bits, which are half the work of two digits, and how far they can be off.
//!
//! An activation x is t h and a rest r, with |h| <= 127 and a scale t for every 32. An estimate leaves w r out: by
//! Cauchy-Schwarz at most |w| |r|, which is summed up over columns that share a scale of digits. Both results are rounded
//! on the way, in each operation by at most 2^-24 of the sum of their terms' sizes, which is no more than the length of the
//! weights' terms (d q, and m where there is one) times |x|.

use super::block_tile::{by_block_type, format_of, quants, scales};
use crate::cpu::block::{BlockFormat, WeightType, Zero};
use crate::cpu::digits::{BLOCK, DigitBlock, SCALE_BLOCKS};
use crate::cpu::memory::Number;
use crate::cpu::pack::{PANEL_ROWS, PackedMatrix};
use crate::cpu::simd::{Kernel, LANES, Simd16};

#[cfg(test)]
mod tests;

/// Lengths are square roots of sums in f32 and f64: so much more is never less.
const ROUNDED_UP: f32 = 1.001;

/// Products with rows of such lengths neither overflow nor get too small for a bound by relative errors.
const BOUNDED: std::ops::RangeInclusive<f32> = 1e-20..=1e20;

/// 32 activations. Sums are of the block, of its first and of its second half.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct EstimateBlock {
    /// h
    pub(super) digits: [i8; BLOCK],
    /// t
    pub(super) scale: f32,
    /// The sums of t h: what multiplies a weight's m.
    pub(super) sums: [f32; 3],
    /// The sums of -h: what multiplies a weight's offset.
    pub(super) negative: [i32; 3],
    unused: u32,
}

// SAFETY: `repr(C)` without padding (32 + 16 + 12 + 4 bytes), made of numbers.
unsafe impl Number for EstimateBlock {}

/// Of a row, and of a panel: a length for each scale of digits, then one for what is rounded.
pub(crate) const fn lengths(columns: usize) -> usize {
    columns.div_ceil(SCALE_BLOCKS * BLOCK) + 1
}

/// How far an estimate of a panel's product with a row can be from the product as tiles compute it; infinite or not a number
/// where nothing is known.
#[inline(always)]
pub(super) fn reach(panel: &[f32], row: &[f32]) -> f32 {
    panel.iter().zip(row).map(|(panel, row)| panel * row).sum()
}

/// Takes a row's blocks anew for estimates.
pub(crate) struct EstimateRow<'a> {
    pub(crate) digits: &'a [DigitBlock],
    /// As many.
    pub(crate) blocks: &'a mut [EstimateBlock],
    /// Of what is left out.
    pub(crate) lengths: &'a mut [f32],
}

impl Kernel for EstimateRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let Self { digits, blocks, lengths } = self;
        let (rounded, left_out) = lengths.split_last_mut().expect("a length for what is rounded");
        let mut all = 0.0;
        let groups = digits.chunks(SCALE_BLOCKS).zip(blocks.chunks_mut(SCALE_BLOCKS));
        for ((digits, blocks), left_out) in groups.zip(&mut *left_out) {
            let mut left = 0.0;
            for (digits, block) in digits.iter().zip(blocks) {
                let x = numbers(digits);
                left += square(&block.take(&x));
                all += square(&x);
            }
            *left_out = length(left);
        }
        let whole = length(all);
        // At most 15 operations a block in both results together, what they begin with, and what r is rounded by.
        let operations = (digits.len() * BLOCK) as f32 * 0.6 + 64.0;
        *rounded = operations * (f32::EPSILON / 2.0) * whole;
        if !BOUNDED.contains(&whole) {
            *rounded = f32::INFINITY;
        }
    }
}

impl EstimateBlock {
    /// The rest, r.
    #[inline(always)]
    fn take(&mut self, x: &[f32; BLOCK]) -> [f32; BLOCK] {
        let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let (scale, inverse) = (largest / 127.0, if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let mut rest = *x;
        for (rest, digit) in rest.iter_mut().zip(&mut self.digits) {
            *digit = (*rest * inverse).round_ties_even() as i8;
            *rest -= scale * f32::from(*digit);
        }
        let half = |half: &[i8]| half.iter().map(|digit| i32::from(*digit)).sum::<i32>();
        let (first, second) = (half(&self.digits[..BLOCK / 2]), half(&self.digits[BLOCK / 2..]));
        self.scale = scale;
        self.negative = [-(first + second), -first, -second];
        self.sums = self.negative.map(|negative| scale * -negative as f32);
        rest
    }
}

/// s X
#[inline(always)]
fn numbers(block: &DigitBlock) -> [f32; BLOCK] {
    let [hi, lo] = &block.digits;
    std::array::from_fn(|k| block.scale * (256 * i32::from(hi[k]) + i32::from(lo[k])) as f32)
}

#[inline(always)]
fn square(x: &[f32; BLOCK]) -> f64 {
    // Of f32 the squares of small numbers would be 0.
    x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()
}

fn length(square: f64) -> f32 {
    square.sqrt() as f32 * ROUNDED_UP
}

/// Lengths of the panels of a block-wise matrix from `first` on: of its rows the largest.
pub(crate) struct MeasurePanels<'a> {
    pub(crate) matrix: &'a PackedMatrix,
    pub(crate) first: usize,
    /// Panel by panel.
    pub(crate) lengths: &'a mut [f32],
}

impl Kernel for MeasurePanels<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let measure = by_block_type!(self.matrix.weight_type(), measure::<S>);
        let columns = self.matrix.columns();
        for (panel, lengths) in (self.first..).zip(self.lengths.chunks_exact_mut(lengths(columns))) {
            // SAFETY: the panel has the matrix' columns; the instruction set is the caller's promise.
            unsafe { measure(self.matrix.panel(panel), columns, lengths) };
        }
    }
}

unsafe fn measure<S: Simd16, const TYPE: u32>(panel: *const u8, columns: usize, lengths: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { S::call(MeasurePanel::<TYPE> { panel, columns, lengths }) }
}

/// A panel of a block-wise type, whose ggml id is `TYPE`.
struct MeasurePanel<'a, const TYPE: u32> {
    panel: *const u8,
    columns: usize,
    lengths: &'a mut [f32],
}

/// Sums of squares of 16 rows.
struct Squares<S: Simd16> {
    weights: S::F,
    products: S::F,
    minima: S::F,
}

// Whoever makes it answers for its pointer.
impl<const TYPE: u32> Kernel for MeasurePanel<'_, TYPE> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let format = const { format_of(TYPE) };
        let (terms, weights) = self.lengths.split_last_mut().expect("a length for what is rounded");
        weights.fill(0.0);
        *terms = 0.0;
        for half in 0..PANEL_ROWS / LANES {
            // SAFETY: loads stay inside the panel; the rest is the caller's promise.
            unsafe {
                let zero = S::zero();
                let mut squares = Squares::<S> { weights: zero, products: zero, minima: zero };
                for (scale, weights) in weights.iter_mut().enumerate() {
                    squares.weights = zero;
                    let last = (self.columns / BLOCK).min((scale + 1) * SCALE_BLOCKS);
                    for block in scale * SCALE_BLOCKS..last {
                        let at = format.sub_block(self.panel, block);
                        for group in 0..format.groups {
                            squares.add_group(format, at, (group, half));
                        }
                    }
                    *weights = weights.max(largest_root::<S>(squares.weights));
                }
                let products = largest_root::<S>(squares.products);
                *terms = terms.max(products + largest_root::<S>(squares.minima));
            }
        }
    }
}

impl<S: Simd16> Squares<S> {
    #[inline(always)]
    unsafe fn add_group(
        &mut self,
        format: BlockFormat,
        (sub, head): (*const u8, *const u8),
        (group, half): (usize, usize),
    ) {
        // SAFETY: as in `MeasurePanel::run`.
        unsafe {
            let (d, minimum) = scales::<S>(format, (sub, head), (group, half));
            let offset = match format.zero {
                Zero::Offset { shift } => (1u32 << shift) as f32,
                Zero::Minimum => 0.0,
            };
            let steps = 8 / format.groups;
            for step in group * steps..(group + 1) * steps {
                let line = quants::<S>(format, sub.add(half * format.half_bytes()), step);
                for byte in 0..4 {
                    let q = S::to_f(S::and_i(S::shr_i(line, 8 * byte), S::splat_i(255)));
                    let product = S::mul(d, S::sub(q, S::splat(offset)));
                    let weight = S::add(product, minimum);
                    self.products = S::fma(product, product, self.products);
                    self.weights = S::fma(weight, weight, self.weights);
                }
            }
            let count = S::splat(format.group_elements() as f32);
            self.minima = S::fma(S::mul(minimum, minimum), count, self.minima);
        }
    }
}

#[inline(always)]
unsafe fn largest_root<S: Simd16>(squares: S::F) -> f32 {
    // SAFETY: the instruction set is the caller's promise.
    unsafe { S::reduce_max(squares).sqrt() * ROUNDED_UP }
}
