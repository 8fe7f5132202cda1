//! Memory that operations keep from step to step. Had before the first one, so that a step allocates nothing, and takes no
//! memory that nobody counted.

use super::Cpu;
use super::linear::InputColumns;
use super::linear::largest::LargestScratch;
use crate::cpu::ahead::Ahead;
use crate::cpu::attention::HeadShape;
use crate::cpu::attention::plan::sizes::PlanSizes;
use crate::cpu::attention::scratch::AttentionScratch;
use crate::cpu::isa::Isa;
use crate::cpu::linear::multiply::STACK_BYTES;
use crate::cpu::memory::AllocError;

#[cfg(test)]
mod tests;

/// The largest step of a model, and its longest sequence.
#[derive(Clone, Copy, Debug)]
pub struct ScratchLimits {
    pub rows: usize,
    /// Of them, those whose logits are wanted.
    pub sampled: usize,
    pub positions: usize,
    /// Of the cache.
    pub block_size: usize,
    pub shape: HeadShape,
    pub columns: InputColumns,
}

impl ScratchLimits {
    /// The most that operations take, with what they use of the threads' stacks.
    pub fn bytes(&self, isa: Isa, threads: usize) -> usize {
        let attention = AttentionScratch::bytes_max(self.plan(threads), &self.shape, threads);
        self.columns.sizes(self.rows, (isa, threads)).bytes()
            + attention
            + Ahead::bytes_max(self.blocks(), threads)
            + LargestScratch::bytes_max((self.sampled, self.columns.estimated), threads)
            + threads * STACK_BYTES
    }

    fn plan(&self, threads: usize) -> PlanSizes {
        PlanSizes::of((self.rows, self.positions), &self.shape, threads)
    }

    /// Rows, and blocks of the longest sequence.
    fn blocks(&self) -> (usize, usize) {
        (self.rows, self.positions.div_ceil(self.block_size))
    }
}

impl Cpu {
    /// Has all memory that operations within the limits need. Little of it is touched before.
    pub fn reserve(&mut self, limits: &ScratchLimits) -> Result<(), AllocError> {
        let threads = self.threads();
        self.activations.reserve(limits.columns.sizes(limits.rows, (self.isa, threads)))?;
        self.attention.reserve(limits.plan(threads), &limits.shape, threads)?;
        self.ahead.reserve(limits.blocks(), threads)?;
        self.largest.reserve((limits.sampled, limits.columns.estimated), threads)?;
        self.reserved_bytes = Some(self.scratch_bytes());
        Ok(())
    }

    /// What operations have taken so far, stacks aside.
    pub fn scratch_bytes(&mut self) -> usize {
        self.activations.bytes() + self.attention.bytes() + self.ahead.bytes() + self.largest.bytes()
    }

    /// After `reserve` no operation takes more.
    pub(super) fn check_reserved(&mut self) {
        if cfg!(debug_assertions)
            && let Some(reserved) = self.reserved_bytes
        {
            assert_eq!(
                self.scratch_bytes(),
                reserved,
                "a step beyond the limits that memory was reserved for"
            );
        }
    }
}
