//! A panel times many rows by a matrix unit, in groups of 16 rows: the same sums and the same float steps as
//! `block_tile`, in the same order, hence the same bits.
//! The panel is unpacked part by part, once for all rows of a call; `group_blocks` has the products.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::block_tile::format_of;
use super::group_blocks::{AddBlocks, Ring};
use super::matrix_unit::MatrixUnit;
use super::unpacked::{Unpacked, blocks_at_once, unpack};
use crate::cpu::block::{BlockFormat, WeightType};
use crate::cpu::digits::BLOCK;
use crate::cpu::digits::group::DigitGroup;
use crate::cpu::simd::{Kernel, Simd16};

/// What a call reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct GroupCall {
    pub(super) panel: *const u8,
    pub(super) columns: usize,
    /// `columns / 32` blocks a group; `group_blocks::GROUPS_BEHIND` groups more are read.
    pub(super) digits: *const DigitGroup,
    /// At least one.
    pub(super) rows: usize,
    /// 32 results a row, for whole groups.
    pub(super) out: *mut f32,
}

/// The code for a weight type.
///
/// # Safety
/// To call: the panel has 32 rows of `columns` weights of the type, the digits as many activations, `out` room
/// for 32 results a row; both for whole groups. The unit is configured.
pub(crate) type GroupFunction = unsafe fn(&GroupCall);

/// The code for a block-wise weight type, on vectors `S` and unit `U`.
///
/// # Safety
/// The processor has both, and the system lets this process use the unit.
pub(super) unsafe fn function<S: Simd16, U: MatrixUnit>(weight_type: WeightType) -> GroupFunction {
    macro_rules! by_type {
        ($($block:ident)*) => {
            match weight_type {
                $(WeightType::$block => group::<S, U, { WeightType::$block.ggml_id() }>,)*
                _ => unreachable!("dense types have no digits"),
            }
        };
    }
    by_type!(Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K)
}

unsafe fn group<S: Simd16, U: MatrixUnit, const TYPE: u32>(call: &GroupCall) {
    // SAFETY: `GroupFunction` and `function` say what the caller promises.
    unsafe { S::call(GroupTile::<U, TYPE>(call, PhantomData)) }
}

struct GroupTile<'a, U, const TYPE: u32>(&'a GroupCall, PhantomData<U>);

#[repr(C, align(64))]
struct Memory {
    unpacked: [Unpacked; 2],
    ring: Ring,
}

// Whoever makes the tile keeps the promises of `GroupFunction`.
impl<U: MatrixUnit, const TYPE: u32> Kernel for GroupTile<'_, U, TYPE> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let format = Self::FORMAT;
            let mut memory = MaybeUninit::<Memory>::uninit();
            let memory = memory.as_mut_ptr();
            let blocks = self.0.columns / BLOCK;
            let at_once = blocks_at_once(format, blocks);
            let mut first = 0;
            while first < blocks {
                let count = at_once.min(blocks - first);
                unpack::<S, TYPE>(self.0.panel, (first, count), &raw mut (*memory).unpacked);
                for half in 0..2 {
                    let blocks = (first, count);
                    match (format.groups, format.has_minimum()) {
                        (1, false) => self.add::<S, 1, 0>((memory, half), blocks),
                        (1, true) => self.add::<S, 1, 1>((memory, half), blocks),
                        (_, false) => self.add::<S, 2, 0>((memory, half), blocks),
                        (_, true) => self.add::<S, 2, 1>((memory, half), blocks),
                    }
                }
                first += count;
            }
        }
    }
}

impl<U: MatrixUnit, const TYPE: u32> GroupTile<'_, U, TYPE> {
    const FORMAT: BlockFormat = format_of(TYPE);

    /// In a function of its own, which formats share.
    #[inline(always)]
    unsafe fn add<S: Simd16, const GROUPS: usize, const MINIMUM: usize>(
        &self,
        (memory, half): (*mut Memory, usize),
        (first, count): (usize, usize),
    ) {
        // SAFETY: as in `run`, which has unpacked the blocks.
        unsafe {
            S::call(AddBlocks::<U, GROUPS, MINIMUM> {
                call: self.0,
                unpacked: &raw const (*memory).unpacked[half],
                ring: &raw mut (*memory).ring,
                half,
                first,
                count,
                unit: PhantomData,
            });
        }
    }
}
