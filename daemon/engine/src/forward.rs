//! The model as the step loop sees it: a plan in, logits out.
//!
//! `model::decoder` is the real one; tests run others. It is built, used and dropped on the engine's thread.

use crate::schedule::StepPlan;

pub trait Model {
    /// Computes the rows of a plan, writes their keys and values to the plan's blocks, and gives the logits of the
    /// rows that sample, in their order. After an error the plan's sequences are given up; others go on.
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError>;
}

/// One row of logits for each of `plan.samples()`; the sampler changes them in place.
#[derive(Debug)]
pub struct Logits<'a> {
    values: &'a mut [f32],
    vocab_size: usize,
    /// From the start of a row to the start of the next.
    stride: usize,
}

impl<'a> Logits<'a> {
    /// `values` are rows of `vocab_size`, one after another.
    pub fn new(values: &'a mut [f32], vocab_size: usize) -> Self {
        Self::strided(values, vocab_size, vocab_size)
    }

    /// A row of `vocab_size` logits begins every `stride`.
    pub fn strided(values: &'a mut [f32], vocab_size: usize, stride: usize) -> Self {
        assert!(
            (1..=stride).contains(&vocab_size) && values.len().is_multiple_of(stride),
            "logits come in whole rows"
        );
        Logits { values, vocab_size, stride }
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.stride
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.vocab_size]
    }
}

/// The device could not compute a step.
#[derive(Debug, thiserror::Error)]
#[error("the model failed in {operation}: {reason}")]
pub struct ForwardError {
    pub operation: &'static str,
    pub reason: String,
}
