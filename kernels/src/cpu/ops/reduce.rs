//! Reductions over a row of logits, for the sampler.

use super::Cpu;
use crate::cpu::reduce::{Argmax, LogSumExp, LogSumExpOf};

impl Cpu {
    /// The index and value of the largest logit; the first of equals. Panics on an empty row.
    pub fn argmax(&self, logits: &[f32]) -> (usize, f32) {
        assert!(!logits.is_empty(), "argmax of an empty row");
        self.isa.run(Argmax(logits))
    }

    /// The pieces of log-softmax of a row.
    pub fn log_sum_exp(&self, logits: &[f32]) -> LogSumExp {
        assert!(!logits.is_empty(), "log-sum-exp of an empty row");
        self.isa.run(LogSumExpOf(logits))
    }
}
