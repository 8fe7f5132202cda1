//! The digits of sixteen rows side by side, as matrix units load them: the same digits as in `DigitBlock`s,
//! without the integer sums, since those units take weights as signed numbers.

use super::{BLOCK, DigitBlock};
use crate::cpu::memory::Number;

pub(crate) const GROUP_ROWS: usize = 16;

/// 32 activations of sixteen rows.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct DigitGroup {
    /// hi, then lo.
    pub(crate) digits: [[[i8; BLOCK]; GROUP_ROWS]; 2],
    pub(crate) scales: [f32; GROUP_ROWS],
    /// Of the block, of its first and of its second half.
    pub(crate) sums: [[f32; GROUP_ROWS]; 3],
}

// SAFETY: `repr(C)` without padding (1024 + 64 + 192 bytes), made of numbers.
unsafe impl Number for DigitGroup {}

/// A row of a group: lane `lane` of the group's blocks, which follow each other from `blocks` on.
#[derive(Clone, Copy)]
pub(crate) struct GroupRow {
    blocks: *mut DigitGroup,
    lane: usize,
}

impl GroupRow {
    /// Row `row` of the groups that start at `groups`, of `blocks` blocks each.
    ///
    /// # Safety
    /// The row's group lies in the allocation; while the value is used, nobody else touches the row.
    pub(crate) unsafe fn new(groups: *mut DigitGroup, blocks: usize, row: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { blocks: unsafe { groups.add(row / GROUP_ROWS * blocks) }, lane: row % GROUP_ROWS }
    }

    /// Writes the row's block `i`.
    ///
    /// # Safety
    /// The group has that block.
    #[inline(always)]
    pub(crate) unsafe fn put(self, i: usize, block: &DigitBlock) {
        // SAFETY: the block is there, and `new` says that the row is ours; no reference is made to the block,
        // of which other threads may write other rows.
        unsafe {
            let out = self.blocks.add(i);
            for digit in 0..2 {
                (&raw mut (*out).digits[digit][self.lane]).write(block.digits[digit]);
            }
            (&raw mut (*out).scales[self.lane]).write(block.scale);
            for which in 0..3 {
                (&raw mut (*out).sums[which][self.lane]).write(block.sums[which]);
            }
        }
    }
}
