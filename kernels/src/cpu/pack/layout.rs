//! The bytes of a panel's block: 32 rows times the block's 32 or 256 columns.
//!
//! ```text
//! block     = sub-block (32 columns) x 1 or 8 | d, f16 x 32 | m, f16 x 32 if the format has it
//! sub-block = quants of rows 0-15 | of rows 16-31 | K types: scales, i8 x 32 a group | minima, u8 x 32 a group
//! quants    = bit planes, the low bits first: 4 bits; 4 + 1; 4 + 2; 8; 2; 2 + 1
//! ```
//! A line of 64 bytes has 16 rows times 4 columns (a step) in each of its bit fields: a plane of 4 bits has
//! steps 0, 1 in its first line's low and high nibbles, steps 2, 3 in the second, and so on.
//! So a block takes as many bits as in the file, except that the 4 or 6-bit scales of K types become bytes.

use super::PANEL_ROWS;
use crate::cpu::block::{Block, BlockFormat};

/// Bytes of a vector.
const LINE: usize = 64;

/// Some bits of all quants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plane {
    /// Bits of the plane; also its lines.
    pub(crate) width: usize,
    /// Of its lowest bit in the quant.
    pub(crate) position: usize,
}

impl Plane {
    /// The plane's bits in the four bytes of a word, at bit 0.
    #[inline(always)]
    pub(crate) const fn mask(self) -> u32 {
        0x0101_0101 * ((1 << self.width) - 1)
    }

    /// (line, shift inside its bytes) of a step.
    #[inline(always)]
    pub(crate) const fn place(self, step: usize) -> (usize, usize) {
        let steps_a_line = 8 / self.width;
        (step / steps_a_line, step % steps_a_line * self.width)
    }
}

impl BlockFormat {
    /// Where 32 columns of a panel lie: their sub-block, and the d and m of its block.
    ///
    /// # Safety
    /// The panel is of this format, and has so many blocks of 32 columns.
    #[inline(always)]
    pub(crate) unsafe fn sub_block(self, panel: *const u8, block: usize) -> (*const u8, *const u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let whole = panel.add(block / self.subs * self.panel_block_bytes());
            (whole.add(block % self.subs * self.sub_bytes()), whole.add(self.head_at()))
        }
    }

    /// The planes of a quant, in order; a plane of no bits is none.
    #[inline(always)]
    pub(crate) const fn planes(self) -> [Plane; 2] {
        let low = match self.bits {
            8 => 8,
            2 | 3 => 2,
            _ => 4,
        };
        [Plane { width: low, position: 0 }, Plane { width: self.bits - low, position: low }]
    }

    /// A quant's bits lie in two planes.
    pub(crate) const fn is_spread(self) -> bool {
        self.planes()[1].width > 0
    }

    /// Quants of 16 rows and 32 columns.
    #[inline(always)]
    pub(crate) const fn half_bytes(self) -> usize {
        LINE * self.bits
    }

    /// Where a sub-block's scales lie.
    #[inline(always)]
    pub(crate) const fn scales_at(self) -> usize {
        2 * self.half_bytes()
    }

    /// Where a sub-block's minima lie.
    #[inline(always)]
    pub(crate) const fn minima_at(self) -> usize {
        self.scales_at() + PANEL_ROWS * self.groups
    }

    #[inline(always)]
    pub(crate) const fn sub_bytes(self) -> usize {
        let scales = match (self.subs, self.has_minimum()) {
            (1, _) => 0,
            (_, false) => 1,
            (_, true) => 2,
        };
        self.scales_at() + scales * PANEL_ROWS * self.groups
    }

    /// Where a block's d lies, and 64 bytes on its m.
    #[inline(always)]
    pub(crate) const fn head_at(self) -> usize {
        self.subs * self.sub_bytes()
    }

    #[inline(always)]
    pub(crate) const fn panel_block_bytes(self) -> usize {
        self.head_at() + if self.has_minimum() { 2 * LINE } else { LINE }
    }

    /// Puts one row's block into lane `lane` of a zeroed panel block.
    #[inline(always)]
    pub(crate) fn write_block(self, block: &Block, lane: usize, out: &mut [u8]) {
        for sub in 0..self.subs {
            let out = &mut out[sub * self.sub_bytes()..][..self.sub_bytes()];
            self.write_quants(&block.quants[sub * 32..][..32], lane, out);
            if self.subs > 1 {
                for group in 0..self.groups {
                    let at = group * PANEL_ROWS + lane;
                    out[self.scales_at() + at] = block.scales[sub * self.groups + group] as u8;
                    if self.has_minimum() {
                        out[self.minima_at() + at] = block.mins[sub * self.groups + group];
                    }
                }
            }
        }
        let head = &mut out[self.head_at()..];
        head[lane * 2..][..2].copy_from_slice(&block.d.to_le_bytes());
        if self.has_minimum() {
            head[LINE + lane * 2..][..2].copy_from_slice(&block.m.to_le_bytes());
        }
    }

    /// The inverse of `write_block`.
    pub(crate) fn read_block(self, from: &[u8], lane: usize) -> Block {
        let mut block = Block::EMPTY;
        for sub in 0..self.subs {
            let from = &from[sub * self.sub_bytes()..][..self.sub_bytes()];
            self.read_quants(from, lane, &mut block.quants[sub * 32..][..32]);
            if self.subs > 1 {
                for group in 0..self.groups {
                    let at = group * PANEL_ROWS + lane;
                    block.scales[sub * self.groups + group] = from[self.scales_at() + at] as i8;
                    if self.has_minimum() {
                        block.mins[sub * self.groups + group] = from[self.minima_at() + at];
                    }
                }
            }
        }
        let head = &from[self.head_at()..];
        let f16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        block.d = f16_at(lane * 2);
        if self.has_minimum() {
            block.m = f16_at(LINE + lane * 2);
        }
        block
    }

    #[inline(always)]
    fn write_quants(self, quants: &[u8], lane: usize, out: &mut [u8]) {
        let mut at = self.lane_at(lane);
        for Plane { width, position } in self.planes() {
            match width {
                8 => write_plane::<8>(quants, position, &mut out[at..]),
                4 => write_plane::<4>(quants, position, &mut out[at..]),
                2 => write_plane::<2>(quants, position, &mut out[at..]),
                1 => write_plane::<1>(quants, position, &mut out[at..]),
                _ => {}
            }
            at += width * LINE;
        }
    }

    fn read_quants(self, from: &[u8], lane: usize, quants: &mut [u8]) {
        let mut at = self.lane_at(lane);
        let mut words = [0u32; 8];
        for plane in self.planes() {
            if plane.width > 0 {
                for (step, word) in words.iter_mut().enumerate() {
                    let (line, shift) = plane.place(step);
                    let at = at + line * LINE;
                    let bits = u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]]);
                    *word |= (bits >> shift & plane.mask()) << plane.position;
                }
            }
            at += plane.width * LINE;
        }
        for (q, word) in quants.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *q = word.to_le_bytes();
        }
    }

    /// Where a lane's word of the first line lies.
    #[inline(always)]
    fn lane_at(self, lane: usize) -> usize {
        lane / 16 * self.half_bytes() + lane % 16 * 4
    }
}

/// Bits `position..position + WIDTH` of 32 quants into a lane's words of `WIDTH` lines, the first of which is `out`'s.
#[inline(always)]
fn write_plane<const WIDTH: usize>(quants: &[u8], position: usize, out: &mut [u8]) {
    let mask = Plane { width: WIDTH, position }.mask();
    if WIDTH == 8 {
        for (line, word) in quants.as_chunks::<4>().0.iter().enumerate() {
            out[line * LINE..][..4].copy_from_slice(word);
        }
        return;
    }
    for (line, steps) in quants.chunks_exact(32 / WIDTH).enumerate() {
        let mut bits = 0;
        // Two steps at a time.
        for (i, steps) in steps.as_chunks::<8>().0.iter().enumerate() {
            let both = u64::from_le_bytes(*steps) >> position & (u64::from(mask) * 0x1_0000_0001);
            bits |= ((both | both >> (32 - WIDTH)) as u32) << (2 * i * WIDTH);
        }
        out[line * LINE..][..4].copy_from_slice(&bits.to_le_bytes());
    }
}
