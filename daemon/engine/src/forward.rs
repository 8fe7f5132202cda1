//! The model as the step loop sees it: a plan in, logits out.
//!
//! `model::decoder` is the real one; tests run others. It is built, used and dropped on the engine's thread.

use crate::request::TokenId;
use crate::schedule::StepPlan;

pub trait Model {
    /// Computes the rows of a plan, writes their keys and values to the plan's blocks, and gives the logits of the
    /// rows that sample, in their order. After an error the plan's sequences are given up; others go on.
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError>;
}

/// One row of logits for each of `plan.samples()`; the sampler changes them in place.
pub struct Logits<'a> {
    place: Place<'a>,
}

enum Place<'a> {
    Here {
        values: &'a mut [f32],
        vocab_size: usize,
        /// From the start of a row to the start of the next.
        stride: usize,
    },
    Device(Box<dyn DeviceLogits + 'a>),
}

/// Logits that a device holds: the best token of a row is known, the row itself is copied when it is wanted.
pub trait DeviceLogits {
    fn rows(&self) -> usize;
    fn best(&self, row: usize) -> Best;
    fn row_mut(&mut self, row: usize) -> Result<&mut [f32], ForwardError>;
}

/// The first of a row's largest logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    Token(TokenId),
    /// A logit is infinite or not a number.
    NotFinite,
    /// To be found in the row.
    Unknown,
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
        Logits { place: Place::Here { values, vocab_size, stride } }
    }

    pub fn on_device(logits: impl DeviceLogits + 'a) -> Self {
        Logits { place: Place::Device(Box::new(logits)) }
    }

    pub fn rows(&self) -> usize {
        match &self.place {
            Place::Here { values, stride, .. } => values.len() / stride,
            Place::Device(logits) => logits.rows(),
        }
    }

    /// What is known of a row without reading it.
    pub fn best(&self, row: usize) -> Best {
        match &self.place {
            Place::Here { .. } => Best::Unknown,
            Place::Device(logits) => logits.best(row),
        }
    }

    /// # Errors
    /// When the device that holds the row fails.
    pub fn row_mut(&mut self, row: usize) -> Result<&mut [f32], ForwardError> {
        match &mut self.place {
            Place::Here { values, vocab_size, stride } => Ok(&mut values[row * *stride..][..*vocab_size]),
            Place::Device(logits) => logits.row_mut(row),
        }
    }
}

/// The device could not compute a step.
#[derive(Debug, thiserror::Error)]
#[error("the model failed in {operation}: {reason}")]
pub struct ForwardError {
    pub operation: &'static str,
    pub reason: String,
    /// The device computes nothing from now on: the engine ends.
    pub is_lost: bool,
}
