//! Memory that attention keeps from call to call: the plan, partial results, buffers of the threads.

use super::buffers::{Buffers, Line};
use super::plan::Plan;
use super::plan::sizes::PlanSizes;
use super::unit::slot_lines;
use super::{BatchView, HeadShape};
use crate::cpu::memory::{AllocError, Scratch};
use std::cell::UnsafeCell;

#[derive(Default)]
pub(crate) struct AttentionScratch {
    pub(crate) plan: Plan,
    pub(crate) slots: Scratch<Line>,
    /// One a thread.
    pub(crate) buffers: Vec<ThreadBuffers>,
}

#[derive(Default)]
pub(crate) struct ThreadBuffers(pub(crate) UnsafeCell<Buffers>);

// SAFETY: thread `id` of a region takes only the buffers number `id`.
unsafe impl Sync for ThreadBuffers {}

impl AttentionScratch {
    /// Plans a call and provides what it needs.
    pub(crate) fn prepare(
        &mut self,
        batch: &BatchView<'_>,
        shape: &HeadShape,
        threads: usize,
    ) -> Result<(), AllocError> {
        self.plan.build(batch, shape, threads);
        self.slots.provide(self.plan.slots * slot_lines(shape))?;
        self.reserve_buffers(shape, threads)
    }

    /// Has memory for all calls with plans of the sizes.
    pub(crate) fn reserve(
        &mut self,
        sizes: PlanSizes,
        shape: &HeadShape,
        threads: usize,
    ) -> Result<(), AllocError> {
        self.plan.reserve(sizes)?;
        self.slots.reserve(sizes.slots * slot_lines(shape))?;
        self.reserve_buffers(shape, threads)
    }

    pub(crate) fn bytes(&mut self) -> usize {
        let buffers: usize = self.buffers.iter_mut().map(|buffers| buffers.0.get_mut().bytes()).sum();
        self.plan.bytes() + self.slots.bytes() + buffers
    }

    /// What `reserve` takes.
    pub(crate) fn bytes_max(sizes: PlanSizes, shape: &HeadShape, threads: usize) -> usize {
        let slots = sizes.slots * slot_lines(shape) * size_of::<Line>();
        sizes.bytes() + slots + threads * Buffers::bytes_max(shape)
    }

    fn reserve_buffers(&mut self, shape: &HeadShape, threads: usize) -> Result<(), AllocError> {
        self.buffers.resize_with(threads, ThreadBuffers::default);
        self.buffers.iter_mut().try_for_each(|buffers| buffers.0.get_mut().reserve(shape))
    }
}
