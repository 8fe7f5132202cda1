//! Which tokens of which sequences each step computes, and in which KV blocks: plain decisions on plain data.
//!
//! Pure: no clock, I/O, randomness or tensors, so that millions of steps can be simulated with a fake model.
//! `submit` queues a sequence, `plan` decides a step, the caller runs the model and samples,
//! `advance` books the result; `cancel` may come at any time between these calls.

mod block_hash;
mod block_pool;
mod chunks;
mod kv_blocks;
mod opening;
mod options;
mod prefix_index;
mod prompt_lookup;
mod scheduler;
mod sequence;
mod step_plan;

pub use options::{OptionsError, SchedulerOptions, SchedulerStats};
pub use scheduler::Scheduler;
pub use sequence::{Finish, NewSequence, Outcome, SequenceId, SubmitError};
pub use step_plan::{BlockCopy, PlannedSequence, Row, Sample, StepPlan, TokenSource};

#[cfg(test)]
mod tests;
