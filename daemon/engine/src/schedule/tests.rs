//! Behaviour of the scheduler as a whole: facts on small cases here, long random runs in `simulation`.

use super::*;
use crate::request::FinishReason;

const OPTIONS: SchedulerOptions = SchedulerOptions {
    block_size: 4,
    blocks: 64,
    context_len: 256,
    max_seqs: 8,
    tokens_per_step: 16,
    prompt_tokens_beside_decode: 16,
    waiting_max: 100,
    prefix_cache_n: 4,
};

/// A scheduler whose model samples tokens no prompt contains.
struct Run {
    scheduler: Scheduler,
    plan: StepPlan,
    outcomes: Vec<Outcome>,
}

impl Run {
    fn new(options: SchedulerOptions) -> Self {
        Run { scheduler: Scheduler::new(options).unwrap(), plan: StepPlan::default(), outcomes: Vec::new() }
    }

    fn submit(&mut self, prompt: impl IntoIterator<Item = u32>, max_tokens: u32) -> SequenceId {
        self.submit_salted(prompt, max_tokens, 0)
    }

    fn submit_salted(
        &mut self,
        prompt: impl IntoIterator<Item = u32>,
        max_tokens: u32,
        cache_salt: u64,
    ) -> SequenceId {
        let prompt = prompt.into_iter().collect();
        let new = NewSequence { prompt, max_tokens, end_tokens: [7].into(), cache_salt };
        self.scheduler.submit(new).unwrap()
    }

    fn step(&mut self) {
        self.step_with(1000);
    }

    fn step_with(&mut self, token: u32) {
        self.scheduler.plan(&mut self.plan);
        let sampled = vec![token; self.plan.samples().len()];
        self.scheduler.advance(&self.plan, &sampled, &mut self.outcomes);
    }

    fn rows_of(&self, id: SequenceId) -> usize {
        self.plan.rows().iter().filter(|row| self.plan.sequences()[row.sequence as usize].id == id).count()
    }

    fn finished(&self) -> Vec<SequenceId> {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.finish.is_some())
            .map(|outcome| outcome.sequence)
            .collect()
    }

    fn run_until_idle(&mut self) -> Vec<SequenceId> {
        let mut finished = Vec::new();
        while !self.scheduler.is_idle() {
            self.step();
            finished.extend(self.finished());
        }
        finished
    }
}

#[test]
fn a_sequence_is_prefilled_in_chunks_then_decoded() {
    let mut run = Run::new(OPTIONS);
    let id = run.submit(0..40, 3);
    let mut rows = Vec::new();
    while !run.scheduler.is_idle() {
        run.step();
        rows.push((run.rows_of(id), run.plan.samples().len()));
    }
    assert_eq!(rows, [(16, 0), (16, 0), (8, 1), (1, 1), (1, 1)]);
    let finish = run.outcomes[0].finish.unwrap();
    let expected =
        Finish { reason: FinishReason::Length, prompt_tokens: 40, cached_tokens: 0, completion_tokens: 3 };
    assert_eq!(finish, expected);
}
