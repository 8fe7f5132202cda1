//! A tile: one panel of 32 weight rows times up to four rows of activations, all columns or a run of them. What it read of
//! the panel stays in the nearest cache for the next tile.

use super::block_tile::{BlockTile, format_of};
use super::dense_tile::DenseTile;
use super::word_tile::WordTile;
use crate::cpu::ahead::{BLOCK_LINES, Stretch};
use crate::cpu::block::WeightType;
use crate::cpu::digits::DigitBlock;
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::simd::{LANES, Simd16};

/// Bytes that the weight stream is fetched ahead.
pub(super) const AHEAD: usize = 8192;

/// Of so many lines one is asked for, where arithmetic is least. Each takes a place among the first cache's misses; the
/// processor fetches the others by itself, faster than with all asked for, if that leaves it places.
pub(super) const LINES_APART: usize = 4;

/// Results of `M` rows, two halves of a panel.
pub(super) type Results<S, const M: usize> = [[<S as Simd16>::F; 2]; M];

/// The rows of a tile: `row(i)` starts `i * stride` elements on.
pub(crate) struct Strided<T> {
    pub(crate) start: *const T,
    pub(crate) stride: usize,
}

// Not derived: `T` need not be `Copy`.
impl<T> Clone for Strided<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Strided<T> {}

impl<T> Strided<T> {
    /// # Safety
    /// The rows lie in one allocation.
    #[inline(always)]
    pub(crate) unsafe fn row(self, i: usize) -> *const T {
        // SAFETY: the caller's promise.
        unsafe { self.start.add(i * self.stride) }
    }
}

/// What a tile reads and writes.
#[derive(Clone, Copy)]
pub(super) struct TileCall {
    pub(super) panel: *const u8,
    pub(super) columns: usize,
    /// `out` has the sums of the columns before these, which go on. False for dense weights.
    pub(super) resumes: bool,
    /// The rows, for block-wise weights and for dense ones.
    pub(super) digits: Strided<DigitBlock>,
    pub(super) floats: Strided<f32>,
    /// 32 results a row.
    pub(super) out: *mut f32,
    /// Fetched by the way.
    pub(super) ahead: Stretch,
}

/// What tiles of block-wise weights have in common.
///
/// # Safety
/// Of all functions: as of the tile, whose call it is; the instruction set of `S` is there.
impl TileCall {
    /// The results of `rows` rows begin with nothing, or go on.
    #[inline(always)]
    pub(super) unsafe fn start<S: Simd16>(&self, rows: usize) {
        if self.resumes {
            return;
        }
        for i in 0..rows * PANEL_ROWS / LANES {
            // SAFETY: there is room for 32 results a row.
            unsafe { S::store(self.out.add(i * LANES), S::zero()) };
        }
    }

    /// A block's share of what the call has to be fetched.
    #[inline(always)]
    pub(super) unsafe fn fetch_ahead<S: Simd16>(&self, block: usize) {
        let first = block * BLOCK_LINES;
        if first < self.ahead.lines {
            for line in first..first + BLOCK_LINES {
                // SAFETY: a prefetch never faults.
                unsafe { S::prefetch(self.ahead.start.wrapping_add(line * 64)) };
            }
        }
    }

    /// Adds the sums of the columns that share the scale of `block` to the results, and starts them anew.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // the loop runs over several arrays, and must unroll
    pub(super) unsafe fn scale_sums<S: Simd16, const M: usize>(&self, block: usize, y: &mut Results<S, M>) {
        // SAFETY: rows have the block, and 32 results.
        unsafe {
            for m in 0..M {
                let scale = S::splat((*self.digits.row(m).add(block)).scale);
                for half in 0..2 {
                    let out = self.out.add(m * PANEL_ROWS + half * LANES);
                    S::store(out, S::fma(y[m][half], scale, S::load(out)));
                    y[m][half] = S::zero();
                }
            }
        }
    }
}

/// The code of a tile.
///
/// # Safety
/// To call: the panel has 32 rows of `columns` weights of the tile's type, the digits (the floats, for a dense
/// type) the tile's rows of `columns` activations, as words where its quants are words, `out` room for 32 results each; if the
/// call resumes, a tile of the columns before has written them.
pub(super) type TileFunction = unsafe fn(&TileCall);

/// How a panel has its quants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quants {
    Packed,
    /// Unpacked by `expand`.
    Bytes,
    /// Unpacked by `expand`, where there are no dot products of bytes; the activations are words.
    Words,
}

/// The code for a weight type and 1, 2 or 4 rows (of the counts that `tile_rows` gives). A table keeps one
/// copy of each tile in the program.
pub(super) fn function<S: Simd16>((weight_type, quants): (WeightType, Quants), rows: usize) -> TileFunction {
    /// One arm a type: its number becomes a constant of the tile's code.
    macro_rules! by_type {
        (blocks: $($block:ident)*; dense: $($dense:ident)*) => {
            match weight_type {
                $(WeightType::$block => match quants {
                    Quants::Packed => blocks::<S, { WeightType::$block.ggml_id() }, false>(rows),
                    // Other types are not unpacked.
                    Quants::Bytes => blocks::<
                        S,
                        { WeightType::$block.ggml_id() },
                        { format_of(WeightType::$block.ggml_id()).is_spread() },
                    >(rows),
                    Quants::Words => words::<S, { WeightType::$block.ggml_id() }>(rows),
                },)*
                $(WeightType::$dense => dense::<S, { WeightType::$dense.ggml_id() }>(rows),)*
            }
        };
    }
    by_type! {
        blocks: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K;
        dense: F32 F16 BF16
    }
}

/// Rows of the next tile when `left` are left, as the registers hold.
#[inline(always)]
pub(super) const fn tile_rows<S: Simd16>(quants: Quants, left: usize) -> usize {
    if (S::REGISTERS >= 32 || matches!(quants, Quants::Words)) && left >= 4 {
        4
    } else if S::REGISTERS >= 8 && left >= 2 {
        2
    } else {
        1
    }
}

fn blocks<S: Simd16, const TYPE: u32, const BYTES: bool>(rows: usize) -> TileFunction {
    if S::REGISTERS >= 32 && rows == 4 {
        block::<S, TYPE, BYTES, 4>
    } else if S::REGISTERS >= 8 && rows == 2 {
        block::<S, TYPE, BYTES, 2>
    } else {
        block::<S, TYPE, BYTES, 1>
    }
}

fn words<S: Simd16, const TYPE: u32>(rows: usize) -> TileFunction {
    if S::HAS_DOTS {
        unreachable!("dot products take bytes");
    }
    match rows {
        4 => word::<S, TYPE, 4>,
        2 => word::<S, TYPE, 2>,
        _ => word::<S, TYPE, 1>,
    }
}

fn dense<S: Simd16, const TYPE: u32>(rows: usize) -> TileFunction {
    if S::REGISTERS >= 32 && rows == 4 {
        floats::<S, TYPE, 4>
    } else if S::REGISTERS >= 8 && rows == 2 {
        floats::<S, TYPE, 2>
    } else {
        floats::<S, TYPE, 1>
    }
}

unsafe fn block<S: Simd16, const TYPE: u32, const BYTES: bool, const M: usize>(call: &TileCall) {
    // SAFETY: `TileFunction` says what the caller promises; the table is made where `S` runs.
    unsafe { S::call(BlockTile::<TYPE, BYTES, M>(call)) }
}

unsafe fn word<S: Simd16, const TYPE: u32, const M: usize>(call: &TileCall) {
    // SAFETY: as in `block`.
    unsafe { S::call(WordTile::<TYPE, M>(call)) }
}

unsafe fn floats<S: Simd16, const TYPE: u32, const M: usize>(call: &TileCall) {
    // SAFETY: as in `block`.
    unsafe { S::call(DenseTile::<TYPE, M>(call)) }
}
