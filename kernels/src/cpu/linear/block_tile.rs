//! A tile of a block-wise type: the weights are unpacked once for all rows.
#![allow(clippy::needless_range_loop)] // the loops run over several arrays, and must unroll

use super::tile::{AHEAD, LINES_APART, Results, TileCall};
use crate::cpu::block::{BlockFormat, WeightType, Zero};
use crate::cpu::digits::{BLOCK, SCALE_BLOCKS};
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::pack::layout::Plane;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// `M` rows times a panel of a block-wise type, whose ggml id is `TYPE`; `BYTES`: its quants are unpacked.
pub(super) struct BlockTile<'a, const TYPE: u32, const BYTES: bool, const M: usize>(pub(super) &'a TileCall);

impl<const TYPE: u32, const BYTES: bool, const M: usize> BlockTile<'_, TYPE, BYTES, M> {
    const FORMAT: BlockFormat = if BYTES { format_of(TYPE).expanded() } else { format_of(TYPE) };
    /// Quants are below 128.
    const IS_NARROW: bool = format_of(TYPE).bits < 8;
    /// Steps of a group whose products 16 bits hold: each brings two of at most 128 times a quant.
    const GATHERED_STEPS: usize = {
        let group = 8 / Self::FORMAT.groups;
        let steps = i16::MAX as usize / (2 * 128 * ((1 << format_of(TYPE).bits) - 1));
        if steps < group { steps } else { group }
    };

    /// Of so many lines of a panel one is asked for ahead. With AVX2 a byte of quants takes more instructions.
    #[inline(always)]
    const fn lines_apart<S: Simd16>() -> usize {
        let is_least = M == 1 && S::HAS_DOTS && S::REGISTERS >= 32;
        if is_least && Self::FORMAT.subs == 1 && !Self::FORMAT.is_spread() { LINES_APART } else { 1 }
    }

    /// What is fewest instructions.
    #[inline(always)]
    const fn products<S: Simd16>() -> Products {
        match (S::HAS_DOTS, Self::IS_NARROW, Self::GATHERED_STEPS) {
            (true, true, _) => Products::NarrowDots,
            (true, false, _) => Products::Dots,
            (false, _, 2..) => Products::Gathered,
            (false, ..) => Products::Whole,
        }
    }
}

/// How digits are multiplied; the sums are the same.
#[derive(Clone, Copy)]
enum Products {
    Dots,
    NarrowDots,
    Gathered,
    /// Both digits at once, into the sums of the second.
    Whole,
}

pub(super) const fn format_of(id: u32) -> BlockFormat {
    let mut i = 0;
    while i < WeightType::ALL.len() {
        if WeightType::ALL[i].ggml_id() == id
            && let Some(format) = BlockFormat::of(WeightType::ALL[i])
        {
            return format;
        }
        i += 1;
    }
    panic!("not a block-wise type");
}

/// `function::<S, TYPE>` of a block-wise type, whose ggml id is `TYPE`.
macro_rules! by_block_type {
    ($weight_type:expr, $function:ident::<$s:ident>) => {
        by_block_type!($weight_type, $function::<$s>: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K)
    };
    ($weight_type:expr, $function:ident::<$s:ident>: $($block:ident)*) => {
        match $weight_type {
            $(WeightType::$block => $function::<$s, { WeightType::$block.ggml_id() }>,)*
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => unreachable!("dense types have no digits"),
        }
    };
}
pub(super) use by_block_type;

/// Integers of `M` rows, `H` halves of a panel, two digits.
type Integers<S, const H: usize, const M: usize> = [[[<S as Simd16>::I; 2]; H]; M];

/// Sums of products: those that are whole, and those that gather where the instruction set gathers.
struct Sums<S: Simd16, const H: usize, const M: usize> {
    whole: Integers<S, H, M>,
    gathering: Integers<S, H, M>,
}

// Whoever makes the tile keeps the promises of `TileFunction`.
impl<const TYPE: u32, const BYTES: bool, const M: usize> Kernel for BlockTile<'_, TYPE, BYTES, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let format = Self::FORMAT;
            let call = self.0;
            call.start::<S>(M);
            let blocks = call.columns / BLOCK;
            let mut y = [[S::zero(); 2]; M];
            let mut at = call.panel;
            let mut block = 0;
            while block < blocks {
                let head = at.add(format.head_at());
                for _ in 0..format.subs {
                    call.fetch_ahead::<S>(block);
                    for group in 0..format.groups {
                        // As many sums as registers hold.
                        if S::REGISTERS >= 32 {
                            self.add_group::<S, 2>((at, head), (block, group, 0), &mut y);
                        } else {
                            self.add_group::<S, 1>((at, head), (block, group, 0), &mut y);
                            self.add_group::<S, 1>((at, head), (block, group, 1), &mut y);
                        }
                    }
                    at = at.add(format.sub_bytes());
                    block += 1;
                    if block.is_multiple_of(SCALE_BLOCKS) || block == blocks {
                        call.scale_sums::<S, M>(block - 1, &mut y);
                    }
                }
                for line in 0..(format.panel_block_bytes() - format.head_at()) / 64 {
                    S::prefetch(at.wrapping_add(AHEAD + line * 64));
                }
                at = at.add(format.panel_block_bytes() - format.head_at());
            }
        }
    }
}

impl<const TYPE: u32, const BYTES: bool, const M: usize> BlockTile<'_, TYPE, BYTES, M> {
    /// One group of columns of `H` halves from `first` on: exact sums, then the float steps of the contract.
    #[inline(always)]
    unsafe fn add_group<S: Simd16, const H: usize>(
        &self,
        (sub, head): (*const u8, *const u8),
        (block, group, first): (usize, usize, usize),
        y: &mut Results<S, M>,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let format = Self::FORMAT;
            let which = if format.groups == 1 { 0 } else { 1 + group };
            let zero = [[[S::zero_i(); 2]; H]; M];
            let mut sums = Sums::<S, H, M> { whole: zero, gathering: zero };
            if let Zero::Offset { shift } = format.zero {
                for m in 0..M {
                    let start =
                        S::shl_i(S::splat_i((*self.0.digits.row(m).add(block)).negative[which]), shift);
                    for h in 0..H {
                        sums.whole[m][h][1] = start;
                    }
                }
            }
            if format.groups == 1 || group == 0 {
                self.add_step::<S, H, 0>((sub, first), block, &mut sums);
                self.add_step::<S, H, 1>((sub, first), block, &mut sums);
                self.add_step::<S, H, 2>((sub, first), block, &mut sums);
                self.add_step::<S, H, 3>((sub, first), block, &mut sums);
            }
            if format.groups == 1 || group == 1 {
                self.add_step::<S, H, 4>((sub, first), block, &mut sums);
                self.add_step::<S, H, 5>((sub, first), block, &mut sums);
                self.add_step::<S, H, 6>((sub, first), block, &mut sums);
                self.add_step::<S, H, 7>((sub, first), block, &mut sums);
            }
            for h in 0..H {
                let half = first + h;
                let (d, minimum) = scales::<S>(format, (sub, head), (group, half));
                for m in 0..M {
                    let x = self.0.digits.row(m).add(block);
                    let [hi, lo] = sums.whole[m][h];
                    let whole = S::to_f(S::add_i(S::shl_i(hi, 8), lo));
                    y[m][half] = S::fma(whole, d, y[m][half]);
                    if format.has_minimum() {
                        y[m][half] = S::fma(minimum, S::splat((*x).sums[which]), y[m][half]);
                    }
                }
            }
        }
    }

    /// Four columns of all rows: the step's weights, unpacked, times the digits.
    #[inline(always)]
    unsafe fn add_step<S: Simd16, const H: usize, const STEP: usize>(
        &self,
        (sub, first): (*const u8, usize),
        block: usize,
        sums: &mut Sums<S, H, M>,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            let format = Self::FORMAT;
            if first == 0 {
                self.fetch_panel::<S, STEP>(sub);
            }
            let mut w = [S::zero_i(); H];
            for h in 0..H {
                w[h] = quants::<S>(format, sub.add((first + h) * format.half_bytes()), STEP);
            }
            for m in 0..M {
                let x = self.0.digits.row(m).add(block);
                let digits = &(*x).digits;
                let (hi, lo) = (four(&digits[0], STEP), four(&digits[1], STEP));
                for h in 0..H {
                    if let Products::Whole = Self::products::<S>() {
                        let sum = &mut sums.whole[m][h][1];
                        *sum = S::dot_whole(*sum, w[h], [hi, lo]);
                    } else {
                        self.add_digit::<S, H, STEP>([m, h, 0], (w[h], hi), sums);
                        self.add_digit::<S, H, STEP>([m, h, 1], (w[h], lo), sums);
                    }
                }
            }
        }
    }

    /// A step's share of the lines that the tile's panel, or the next one, has further on.
    #[inline(always)]
    unsafe fn fetch_panel<S: Simd16, const STEP: usize>(&self, sub: *const u8) {
        let lines = if BYTES { 0 } else { Self::FORMAT.sub_bytes().div_ceil(64) };
        for line in STEP * lines / 8..(STEP + 1) * lines / 8 {
            if line.is_multiple_of(Self::lines_apart::<S>()) {
                // SAFETY: a prefetch never faults.
                unsafe { S::prefetch(sub.wrapping_add(AHEAD + line * 64)) };
            }
        }
    }

    /// Products of a step with one digit.
    #[inline(always)]
    unsafe fn add_digit<S: Simd16, const H: usize, const STEP: usize>(
        &self,
        [m, h, digit]: [usize; 3],
        (w, a): (S::I, i32),
        sums: &mut Sums<S, H, M>,
    ) {
        let whole = &mut sums.whole[m][h][digit];
        // SAFETY: as in `run`.
        unsafe {
            match Self::products::<S>() {
                Products::NarrowDots => *whole = S::dot_narrow(*whole, w, a),
                Products::Dots | Products::Whole => *whole = S::dot(*whole, w, a),
                Products::Gathered => {
                    let gathering = &mut sums.gathering[m][h][digit];
                    *gathering = S::gather(*gathering, w, a);
                    if (STEP + 1).is_multiple_of(Self::GATHERED_STEPS) {
                        *whole = S::add_i(*whole, S::gathered(*gathering));
                        *gathering = S::zero_i();
                    }
                }
            }
        }
    }
}

/// The digits of a step's four columns.
#[inline(always)]
pub(super) fn four(digits: &[i8; BLOCK], step: usize) -> i32 {
    i32::from_ne_bytes(std::array::from_fn(|i| digits[step * 4 + i] as u8))
}

/// d and m of a group for 16 rows; m is 0 for formats without.
#[inline(always)]
pub(super) unsafe fn scales<S: Simd16>(
    format: BlockFormat,
    (sub, head): (*const u8, *const u8),
    (group, half): (usize, usize),
) -> (S::F, S::F) {
    // SAFETY: as in `BlockTile::run`.
    unsafe {
        let d = S::load_f16(head.add(half * 32).cast());
        let m = if format.has_minimum() { S::load_f16(head.add(64 + half * 32).cast()) } else { S::zero() };
        if format.subs == 1 {
            return (d, m);
        }
        let at = group * PANEL_ROWS + half * LANES;
        let d = S::mul(d, S::to_f(S::load_i8(sub.add(format.scales_at() + at).cast())));
        if !format.has_minimum() {
            return (d, m);
        }
        let minima = S::to_f(S::load_u8(sub.add(format.minima_at() + at)));
        (d, S::mul(S::sub(S::zero(), m), minima))
    }
}

/// The quants of 16 rows and the four columns of a step, a byte each.
#[inline(always)]
pub(super) unsafe fn quants<S: Simd16>(format: BlockFormat, half: *const u8, step: usize) -> S::I {
    // SAFETY: as in `BlockTile::run`.
    unsafe {
        let [low, high] = format.planes();
        let q = plane_bits::<S>(low, half, step);
        if high.width == 0 {
            return q;
        }
        S::or_i(q, plane_bits::<S>(high, half.add(low.width * 64), step))
    }
}

/// A plane's bits of a step, at their place in the quants.
#[inline(always)]
unsafe fn plane_bits<S: Simd16>(plane: Plane, lines: *const u8, step: usize) -> S::I {
    // SAFETY: as in `BlockTile::run`.
    unsafe {
        let (line, shift) = plane.place(step);
        let bits = S::load_i(lines.add(line * 64));
        if plane.width == 8 {
            return bits;
        }
        let moved = if shift > plane.position {
            S::shr_i(bits, (shift - plane.position) as u32)
        } else if shift < plane.position {
            S::shl_i(bits, (plane.position - shift) as u32)
        } else {
            bits
        };
        S::and_i(moved, S::splat_i((plane.mask() << plane.position) as i32))
    }
}
