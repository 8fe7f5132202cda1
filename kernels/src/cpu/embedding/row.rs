//! A row of a table as what its head's row, rounded to the table's type, does not tell.
//!
//! ```text
//! row   = n, u8 | n x (block, u16 | d, f16): blocks whose scale is another than the rounding's | moves
//! move  = u8: by how many quants to go on (7 bits); then the quant there is one less (bit 7 set) or one more.
//!         127 goes on 127 quants and changes none.
//! ```
//! ggml rounds a block of Q4_0 or Q5_0 so: d is its number of largest magnitude over -8 or -16, and quants are the
//! nearest ones. From numbers that were rounded to 8 bits, about 3 of 100 quants of 5 bits come out wrong, by one.
//! Source: `quantize_row_q5_0_ref` of ggml-quants.c.

use half::f16;

use crate::cpu::block::{BlockFormat, WeightType};
use crate::cpu::simd::Simd16;

/// Quants of a block.
pub(super) const BLOCK: usize = 32;
const LANES: usize = 16;
const FAR: u8 = 127;
const LESS: u8 = 128;

/// How a type rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounding {
    format: BlockFormat,
}

impl Rounding {
    /// `None`: otherwise.
    pub(super) fn of(weight_type: WeightType) -> Option<Self> {
        let format = BlockFormat::of(weight_type)?;
        matches!(weight_type, WeightType::Q4_0 | WeightType::Q5_0).then_some(Self { format })
    }

    /// What the type's quants and their scale stand for.
    #[inline(always)]
    pub(super) fn weight(self, q: u8, d: u16) -> f32 {
        self.format.weight(q, f16::from_bits(d).to_f32(), 0.0)
    }

    /// f16 bits of the scale of 32 numbers.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`.
    #[inline(always)]
    pub(super) unsafe fn scale_of<S: Simd16>(self, values: &[f32; BLOCK]) -> u16 {
        let [low, high] = values.as_chunks::<LANES>().0 else { unreachable!("a block is two vectors") };
        // SAFETY: see above; the pointers are those of 16 numbers.
        let (most, least) = unsafe {
            let (low, high) = (S::load(low.as_ptr()), S::load(high.as_ptr()));
            let negative = |x| S::sub(S::zero(), x);
            (S::reduce_max(S::max(low, high)), -S::reduce_max(S::max(negative(low), negative(high))))
        };
        // Of zeros, ggml's scale is -0.
        let largest = if most >= -least { most } else { least };
        f16::from_f32(largest / -self.offset()).to_bits()
    }

    /// The nearest quants of a scale.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`.
    #[inline(always)]
    pub(super) unsafe fn quants_of<S: Simd16>(self, values: &[f32; BLOCK], d: u16) -> [u8; BLOCK] {
        let d = f16::from_bits(d).to_f32();
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let mut quants = [0; BLOCK];
        let vectors = quants.as_chunks_mut::<LANES>().0.iter_mut().zip(values.as_chunks::<LANES>().0);
        for (quants, values) in vectors {
            // SAFETY: see above; the pointers are those of 16 numbers and 16 bytes, and quants fit an i32.
            unsafe {
                let q = S::add(S::mul(S::load(values.as_ptr()), S::splat(inverse)), S::splat(self.offset()));
                // 0 for what is no number.
                let q = S::min(S::max(q, S::zero()), S::splat(2.0 * self.offset() - 1.0));
                S::store_low_bytes(quants.as_mut_ptr().cast(), S::to_i(q));
            }
        }
        quants
    }

    /// Of quants from 0: half of their number.
    #[inline(always)]
    fn offset(self) -> f32 {
        (1 << (self.format.bits - 1)) as f32
    }
}

/// Writes rows, one after another.
#[derive(Default)]
pub(super) struct Writer {
    scales: Vec<u8>,
    moves: Vec<u8>,
    /// Quants gone on so far.
    at: usize,
}

impl Writer {
    /// That the block has the scale `d`, which its head does not tell.
    pub(super) fn scale(&mut self, block: usize, d: u16) {
        self.scales.extend((block as u16).to_le_bytes());
        self.scales.extend(d.to_le_bytes());
    }

    /// That the block's quants are `own`, where its head tells `told`.
    #[inline(always)]
    pub(super) fn quants(&mut self, block: usize, own: &[u8], told: &[u8; BLOCK]) {
        let mut differing = 0u32;
        for (i, (own, told)) in own.iter().zip(told).enumerate() {
            differing |= u32::from(own != told) << i;
        }
        while differing != 0 {
            let i = differing.trailing_zeros() as usize;
            differing &= differing - 1;
            self.change(block * BLOCK + i, i32::from(own[i]) - i32::from(told[i]));
        }
    }

    fn change(&mut self, place: usize, by: i32) {
        let mut gap = place - self.at;
        while gap >= usize::from(FAR) {
            self.moves.push(FAR);
            gap -= usize::from(FAR);
        }
        let sign = if by < 0 { LESS } else { 0 };
        self.moves.push(gap as u8 | sign);
        self.moves.extend(std::iter::repeat_n(sign, by.unsigned_abs() as usize - 1));
        self.at = place;
    }

    /// Ends a row and tells its bytes; `None` if it has too many scales of its own.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let size = 1 + self.scales.len() + self.moves.len();
        out.push(u8::try_from(self.scales.len() / 4).ok()?);
        out.append(&mut self.scales);
        out.append(&mut self.moves);
        self.at = 0;
        u32::try_from(size).ok()
    }
}

/// Reads a row, block by block.
pub(super) struct Reader<'a> {
    scales: &'a [[u8; 4]],
    moves: &'a [u8],
    /// Quants gone on so far.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(row: &'a [u8]) -> Self {
        let (scales, moves) = row[1..].split_at(usize::from(row[0]) * 4);
        Self { scales: scales.as_chunks().0, moves, at: 0 }
    }

    /// The block's scale, if it is another than its head tells.
    pub(super) fn scale(&self, block: usize) -> Option<u16> {
        let own = |scale: &&[u8; 4]| usize::from(u16::from_le_bytes([scale[0], scale[1]])) == block;
        self.scales.iter().find(own).map(|scale| u16::from_le_bytes([scale[2], scale[3]]))
    }

    /// Changes what the head tells of a block's quants; blocks ascend.
    pub(super) fn correct(&mut self, block: usize, quants: &mut [u8; BLOCK]) {
        while let Some((first, rest)) = self.moves.split_first() {
            let gap = first & !LESS;
            let place = self.at + usize::from(gap);
            if gap != FAR {
                let Some(q) = quants.get_mut(place - block * BLOCK) else { return };
                *q = if first & LESS != 0 { q.wrapping_sub(1) } else { q.wrapping_add(1) };
            }
            (self.at, self.moves) = (place, rest);
        }
    }
}
