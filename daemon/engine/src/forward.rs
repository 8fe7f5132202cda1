//! The model as the step loop sees it: a plan in, logits out.
//!
//! `model::decoder` is the real one; tests run others. It is built, used and dropped on the engine's thread.

use ostro_kernels::cpu::pool::Pool;

use crate::request::TokenId;
use crate::schedule::StepPlan;

pub trait Model {
    /// Computes the rows of a plan, writes their keys and values to the plan's blocks, and gives the logits of the
    /// rows that sample, in their order, or of each only its best token if the plan says that this is enough. After an
    /// error the plan's sequences are given up; others go on.
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError>;
}

/// One row of logits for each of `plan.samples()`; the sampler changes them in place.
pub struct Logits<'a> {
    place: Place<'a>,
}

enum Place<'a> {
    Here {
        rows: LogitRows<'a>,
        /// That has nothing else to do.
        pool: Option<&'a mut Pool>,
    },
    Device(Box<dyn DeviceLogits + 'a>),
    /// None were computed beside those.
    Best(&'a [Best]),
}

/// Whole rows in memory.
pub(crate) struct LogitRows<'a> {
    values: &'a mut [f32],
    vocab_size: usize,
    /// From the start of a row to the start of the next.
    stride: usize,
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
        Logits { place: Place::Here { rows: LogitRows { values, vocab_size, stride }, pool: None } }
    }

    /// Lets the threads of `pool` share the rows.
    pub fn shared_by(self, pool: &'a mut Pool) -> Self {
        match self.place {
            Place::Here { rows, .. } => Logits { place: Place::Here { rows, pool: Some(pool) } },
            Place::Device(_) | Place::Best(_) => self,
        }
    }

    /// Of rows of which nothing else is wanted.
    pub fn best_only(best: &'a [Best]) -> Self {
        Logits { place: Place::Best(best) }
    }

    pub fn on_device(logits: impl DeviceLogits + 'a) -> Self {
        Logits { place: Place::Device(Box::new(logits)) }
    }

    pub fn rows(&self) -> usize {
        match &self.place {
            Place::Here { rows, .. } => rows.values.len() / rows.stride,
            Place::Device(logits) => logits.rows(),
            Place::Best(best) => best.len(),
        }
    }

    /// What is known of a row without reading it.
    pub fn best(&self, row: usize) -> Best {
        match &self.place {
            Place::Here { .. } => Best::Unknown,
            Place::Device(logits) => logits.best(row),
            Place::Best(best) => best[row],
        }
    }

    /// # Errors
    /// When the device that holds the row fails, and where only the best token was wanted.
    pub fn row_mut(&mut self, row: usize) -> Result<&mut [f32], ForwardError> {
        match &mut self.place {
            Place::Here { rows, .. } => Ok(&mut rows.values[row * rows.stride..][..rows.vocab_size]),
            Place::Device(logits) => logits.row_mut(row),
            Place::Best(_) => Err(ForwardError {
                operation: "logits",
                reason: format!("those of row {row} were not wanted"),
                is_lost: false,
            }),
        }
    }

    /// The rows in parts of so many each, and who may share them; `None` if nobody may.
    pub(crate) fn divide(
        &mut self,
        counts: impl Iterator<Item = usize>,
    ) -> Option<(&mut Pool, Vec<LogitRows<'_>>)> {
        let Place::Here { rows: LogitRows { values, vocab_size, stride }, pool: Some(pool) } =
            &mut self.place
        else {
            return None;
        };
        let (mut rest, vocab_size, stride) = (&mut values[..], *vocab_size, *stride);
        let part = |count| {
            let values = rest.split_off_mut(..count * stride).expect("there is a row for each sample");
            LogitRows { values, vocab_size, stride }
        };
        Some((pool, counts.map(part).collect()))
    }
}

impl LogitRows<'_> {
    pub(crate) fn logits(&mut self) -> Logits<'_> {
        Logits::strided(self.values, self.vocab_size, self.stride)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_rows_in_their_order() {
        let mut values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let mut pool = Pool::new(2);
        let mut logits = Logits::strided(&mut values, 3, 4).shared_by(&mut pool);
        let (pool, mut parts) = logits.divide([2, 1, 3].into_iter()).unwrap();
        assert_eq!(pool.threads(), 2);
        for (part, firsts) in parts.iter_mut().zip([&[0.0, 4.0][..], &[8.0], &[12.0, 16.0, 20.0]]) {
            let mut logits = part.logits();
            assert_eq!(logits.rows(), firsts.len());
            for (row, first) in firsts.iter().enumerate() {
                assert_eq!(logits.row_mut(row).unwrap(), [*first, first + 1.0, first + 2.0]);
            }
        }
        assert!(Logits::new(&mut [0.0; 6], 3).divide([2].into_iter()).is_none(), "nobody may share them");
    }
}
