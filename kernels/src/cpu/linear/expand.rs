//! Unpacks the quants of a run of columns to bytes or words, in the layout of a panel whose quants have 8 or 16 bits.

use std::mem::MaybeUninit;

use super::block_tile::{format_of, quants};
use super::tile::Quants;
use crate::cpu::block::WeightType;
use crate::cpu::simd::{Kernel, Simd16};

/// Bytes of a panel that stay in the first cache beside the digits of a tile's rows.
pub(super) const RUN_BYTES: usize = 20 << 10;
/// Runs are whole blocks, of types whose blocks have 32 columns whole scales: up to three blocks more.
const ROOM: usize = RUN_BYTES + (10 << 10);

#[repr(align(64))]
pub(super) struct Expanded {
    bytes: MaybeUninit<[u8; ROOM]>,
}

impl Expanded {
    pub(super) fn new() -> Self {
        Self { bytes: MaybeUninit::uninit() }
    }

    /// Unpacks `blocks` blocks of a panel.
    ///
    /// # Safety
    /// They lie at `packed`; the processor has the instruction set of `S`.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd16>(
        &mut self,
        (weight_type, quants): (WeightType, Quants),
        packed: *const u8,
        blocks: usize,
    ) -> *const u8 {
        macro_rules! by_type {
            ($words:literal: $($block:ident)*) => {
                match weight_type {
                    $(WeightType::$block => unpack::<S, { WeightType::$block.ggml_id() }, $words>,)*
                    _ => unreachable!("other types are not unpacked"),
                }
            };
        }
        let unpack = match quants {
            Quants::Packed => unreachable!("they stay as they are"),
            Quants::Bytes => by_type!(false: Q5_0 Q5_1 Q3_K Q5_K Q6_K),
            Quants::Words if S::HAS_DOTS => unreachable!("dot products take bytes"),
            Quants::Words => by_type!(true: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K),
        };
        let out = self.bytes.as_mut_ptr().cast::<u8>();
        // SAFETY: the caller's promise; `unpack` checks the room.
        unsafe { unpack(packed, blocks, out) };
        out
    }
}

unsafe fn unpack<S: Simd16, const TYPE: u32, const WORDS: bool>(
    packed: *const u8,
    blocks: usize,
    out: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe { S::call(Unpack::<TYPE, WORDS> { packed, blocks, out }) }
}

struct Unpack<const TYPE: u32, const WORDS: bool> {
    packed: *const u8,
    blocks: usize,
    out: *mut u8,
}

// Whoever makes it answers for its pointers.
impl<const TYPE: u32, const WORDS: bool> Kernel for Unpack<TYPE, WORDS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let from = const { format_of(TYPE) };
        let to = if WORDS { from.words() } else { from.expanded() };
        assert!(self.blocks * to.panel_block_bytes() <= ROOM, "a run of {} blocks", self.blocks);
        // Fetched while the tiles of this run work: they take long enough, and read none of it.
        let next_run = self.blocks * from.panel_block_bytes();
        for block in 0..self.blocks {
            // SAFETY: inside both panels, see above.
            unsafe {
                let packed = self.packed.add(block * from.panel_block_bytes());
                let out = self.out.add(block * to.panel_block_bytes());
                for line in 0..from.panel_block_bytes().div_ceil(64) {
                    S::prefetch(packed.wrapping_add(next_run + line * 64));
                }
                for sub in 0..from.subs {
                    let (packed, out) = (packed.add(sub * from.sub_bytes()), out.add(sub * to.sub_bytes()));
                    for half in 0..2 {
                        let (packed, out) =
                            (packed.add(half * from.half_bytes()), out.add(half * to.half_bytes()));
                        for step in 0..8 {
                            let line = quants::<S>(from, packed, step);
                            put_line::<S, WORDS>(line, out, step);
                        }
                    }
                    let scales = from.sub_bytes() - from.scales_at();
                    packed.add(from.scales_at()).copy_to_nonoverlapping(out.add(to.scales_at()), scales);
                }
                let head = from.panel_block_bytes() - from.head_at();
                packed.add(from.head_at()).copy_to_nonoverlapping(out.add(to.head_at()), head);
            }
        }
    }
}

/// Four columns of 16 rows: a line of bytes, or a line of the first and third column, and one of the others.
#[inline(always)]
unsafe fn put_line<S: Simd16, const WORDS: bool>(bytes: S::I, out: *mut u8, step: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if !WORDS {
            return S::store_i(out.add(step * 64), bytes);
        }
        let low = S::splat_i(0x00FF_00FF);
        S::store_i(out.add(step * 128), S::and_i(bytes, low));
        S::store_i(out.add(step * 128 + 64), S::and_i(S::shr_i(bytes, 8), low));
    }
}
