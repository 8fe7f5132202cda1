//! Samples the rows of a step: those of a sequence in their order, sequences on all threads that may share the logits.
//!
//! A token depends on its own sequence only, so it does not matter which thread samples which sequence, and when.

use super::live::{LiveSequence, LiveSequences, RowLogits};
use crate::forward::{ForwardError, Logits};
use crate::request::TokenId;
use crate::sample::{SampleError, Scratch};
use crate::schedule::{Sample, Scheduler, StepPlan};

/// What became of a row; `None` if it was not wanted.
pub(super) type Sampled = Option<Result<TokenId, SampleError>>;

/// What all threads read.
#[derive(Clone, Copy)]
pub(super) struct Planned<'a> {
    pub(super) plan: &'a StepPlan,
    pub(super) scheduler: &'a Scheduler,
}

/// The rows of a sequence that sample.
struct Turn<'a> {
    sequence: &'a mut LiveSequence,
    /// Index into `StepPlan::samples`.
    first: usize,
    sampled: &'a mut [Sampled],
}

/// Nothing but the tokens of the largest logits is wanted.
pub(super) fn takes_best_only(Planned { plan, scheduler }: Planned<'_>, live: &LiveSequences) -> bool {
    plan.samples().iter().all(|&Sample { sequence, drafts, .. }| {
        let history = scheduler.history(sequence, drafts).expect("a planned sequence runs");
        live.takes_best(sequence, history)
    })
}

/// What became of each of the plan's samples. `scratches` has at least one, and gets more as threads need them.
///
/// # Errors
/// When the device that holds the logits fails.
pub(super) fn sample(
    planned: Planned<'_>,
    live: &mut LiveSequences,
    mut logits: Logits<'_>,
    scratches: &mut Vec<Scratch>,
) -> Result<Vec<Sampled>, ForwardError> {
    let mut sampled = vec![None; planned.plan.samples().len()];
    let mut turns = turns(planned.plan, live, &mut sampled);
    match logits.divide(turns.iter().map(|turn| turn.sampled.len())) {
        Some((pool, parts)) => {
            while scratches.len() < pool.threads().min(turns.len()) {
                scratches.push(scratches[0].another());
            }
            let mut turns: Vec<_> = turns.into_iter().zip(parts).collect();
            pool.for_each(&mut turns, scratches, |(turn, part), scratch| {
                turn.run(planned, (&mut part.logits(), 0), scratch).expect("rows in memory can be read");
            });
        }
        None => {
            for turn in &mut turns {
                let row = turn.first;
                turn.run(planned, (&mut logits, row), &mut scratches[0])?;
            }
        }
    }
    Ok(sampled)
}

fn turns<'a>(plan: &StepPlan, live: &'a mut LiveSequences, mut sampled: &'a mut [Sampled]) -> Vec<Turn<'a>> {
    let mut first = 0;
    let counts = plan.sequences().iter().map(|planned| planned.samples).filter(|count| *count > 0);
    let turn = |(sequence, count)| {
        let sampled = sampled.split_off_mut(..count).expect("samples are those of the sequences");
        let turn = Turn { sequence, first, sampled };
        first += count;
        turn
    };
    live.sampling(plan).into_iter().zip(counts).map(turn).collect()
}

impl Turn<'_> {
    /// `logits` have the rows of this turn from the given one on.
    fn run(
        &mut self,
        Planned { plan, scheduler }: Planned<'_>,
        (logits, first_row): (&mut Logits<'_>, usize),
        scratch: &mut Scratch,
    ) -> Result<(), ForwardError> {
        let mut before = None;
        for (offset, sampled) in self.sampled.iter_mut().enumerate() {
            let index = self.first + offset;
            if !plan.is_wanted(index, before) {
                break;
            }
            let Sample { sequence, drafts, .. } = plan.samples()[index];
            let history = scheduler.history(sequence, drafts).expect("a planned sequence runs");
            let row = first_row + offset;
            let token = self.sequence.sample(RowLogits { logits, row }, history, scratch)?;
            before = token.as_ref().ok().copied();
            *sampled = Some(token);
        }
        Ok(())
    }
}
