//! One step as data: the rows to compute, where their keys and values go, which rows need logits.
//!
//! Written by `Scheduler::plan` into buffers that the caller keeps, so a step allocates nothing once they have
//! grown; read by the model and the sampler, of whom the latter says beforehand if the best tokens are enough.

use std::ops::Range;

use super::sequence::SequenceId;
use crate::request::TokenId;

/// One token to compute at one position of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index into `StepPlan::sequences`.
    pub sequence: u32,
    pub position: u32,
    pub token: TokenId,
    pub source: TokenSource,
}

/// Where a token came from, also when a preempted sequence is computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    Prompt,
    Generated,
}

/// A row whose logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Index into `StepPlan::rows`.
    pub row: u32,
    pub sequence: SequenceId,
    /// Draft tokens of the sequence up to this row, its own included: guesses, see `StepPlan::is_wanted`.
    pub drafts: u32,
}

/// A sequence that has rows in this step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSequence {
    pub id: SequenceId,
    /// Its rows, consecutive and ascending in position.
    pub rows: Range<usize>,
    /// How many of them sample, at the end.
    pub samples: usize,
    /// Prompt tokens found in the prefix cache when it was first admitted.
    pub cached_tokens: u32,
    blocks: Range<usize>,
}

/// A block of the cache whose keys and values of all layers become those of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCopy {
    pub from: u32,
    pub to: u32,
}

/// What the next step computes. Empty when nothing can run.
#[derive(Clone, Debug, Default)]
pub struct StepPlan {
    rows: Vec<Row>,
    sequences: Vec<PlannedSequence>,
    samples: Vec<Sample>,
    blocks: Vec<u32>,
    preempted: Vec<SequenceId>,
    copies: Vec<BlockCopy>,
    best_only: bool,
}

impl StepPlan {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Oldest first.
    pub fn sequences(&self) -> &[PlannedSequence] {
        &self.sequences
    }

    /// Ascending by row; `Scheduler::advance` takes what became of each.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Of all samples only the token of the largest logit is wanted: a model may compute no more.
    pub fn is_best_only(&self) -> bool {
        self.best_only
    }

    /// Said by who samples, anew for each plan.
    pub fn set_best_only(&mut self, best_only: bool) {
        self.best_only = best_only;
    }

    /// Whether `samples()[sample]` counts, with the token of the one before: that of a draft token only if the token was
    /// sampled where it was guessed.
    pub fn is_wanted(&self, sample: usize, before: Option<TokenId>) -> bool {
        let sample = self.samples[sample];
        sample.drafts == 0 || before == Some(self.rows[sample.row as usize].token)
    }

    /// The blocks of `sequences()[sequence]`: position `p` lives in block `p / block_size`.
    pub fn block_table(&self, sequence: usize) -> &[u32] {
        &self.blocks[self.sequences[sequence].blocks.clone()]
    }

    /// To be done one after the other, before the rows.
    pub fn copies(&self) -> &[BlockCopy] {
        &self.copies
    }

    /// Sequences that lost their blocks in this step and will be computed again later.
    pub fn preempted(&self) -> &[SequenceId] {
        &self.preempted
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.sequences.clear();
        self.samples.clear();
        self.blocks.clear();
        self.preempted.clear();
        self.copies.clear();
        self.best_only = false;
    }

    pub(super) fn push_preempted(&mut self, id: SequenceId) {
        self.preempted.push(id);
    }

    pub(super) fn push_copy(&mut self, copy: BlockCopy) {
        self.copies.push(copy);
    }

    pub(super) fn push_sequence(&mut self, id: SequenceId, cached_tokens: u32, blocks: &[u32]) {
        let first = self.blocks.len();
        self.blocks.extend_from_slice(blocks);
        let rows = self.rows.len()..self.rows.len();
        self.sequences.push(PlannedSequence {
            id,
            rows,
            samples: 0,
            cached_tokens,
            blocks: first..self.blocks.len(),
        });
    }

    /// Adds a row to the sequence pushed last.
    pub(super) fn push_row(&mut self, position: u32, token: TokenId, source: TokenSource) {
        let sequence = (self.sequences.len() - 1) as u32;
        self.rows.push(Row { sequence, position, token, source });
        self.sequences[sequence as usize].rows.end = self.rows.len();
    }

    /// Asks for the logits of the row pushed last.
    pub(super) fn push_sample(&mut self, drafts: usize) {
        let sequence = self.sequences.last_mut().expect("a row was pushed, and its sequence before");
        sequence.samples += 1;
        let row = (self.rows.len() - 1) as u32;
        self.samples.push(Sample { row, sequence: sequence.id, drafts: drafts as u32 });
    }
}

#[cfg(test)]
impl StepPlan {
    pub(super) fn capacities(&self) -> [usize; 4] {
        [self.rows.capacity(), self.sequences.capacity(), self.samples.capacity(), self.blocks.capacity()]
    }
}
