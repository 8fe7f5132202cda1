//! Behaviour of the scheduler as a whole: facts on small cases here, long random runs in `simulation`.

mod drafts;
mod memory;
mod opening;
mod simulation;

use super::*;
use crate::request::FinishReason;

const OPTIONS: SchedulerOptions = SchedulerOptions {
    block_size: 4,
    blocks: 64,
    context_len: 256,
    max_seqs: 8,
    tokens_per_step: 16,
    prompt_tokens_beside_decode: 16,
    draft_tokens: 0,
    waiting_max: 100,
    prefix_cache_n: 4,
    sources_apart: false,
    opening: Vec::new(),
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
        let sampled = vec![Some(token); self.plan.samples().len()];
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

#[test]
fn an_end_token_ends_the_sequence_at_once() {
    let mut run = Run::new(OPTIONS);
    run.submit(0..5, 9);
    run.step();
    run.step_with(7);
    let finish = run.outcomes[0].finish.unwrap();
    assert_eq!((finish.reason, finish.completion_tokens), (FinishReason::Stop(7), 2));
    assert!(run.scheduler.is_idle());
}

#[test]
fn decodes_run_in_every_step_beside_a_long_prompt() {
    let mut run = Run::new(SchedulerOptions { prompt_tokens_beside_decode: 6, ..OPTIONS });
    let decoding = [run.submit(0..4, 30), run.submit(10..14, 30)];
    run.step();
    let long = run.submit(100..150, 1);
    for _ in 0..8 {
        run.step();
        assert_eq!(decoding.map(|id| run.rows_of(id)), [1, 1]);
        assert_eq!(run.rows_of(long), 6);
    }
}

#[test]
fn a_short_prompt_passes_a_long_one_that_keeps_half_the_budget() {
    let mut run = Run::new(OPTIONS);
    let long = run.submit(0..100, 1);
    run.step();
    let short = run.submit(200..208, 1);
    run.step();
    assert_eq!((run.rows_of(long), run.rows_of(short)), (8, 8));
    assert_eq!(run.finished(), [short]);
}

#[test]
fn short_prompts_that_keep_coming_do_not_starve_a_long_one() {
    let mut run = Run::new(OPTIONS);
    let long = run.submit(0..160, 1);
    let mut finished = Vec::new();
    for step in 0..20 {
        for prompt in 0..3 {
            let first = 1000 + 100 * step + 10 * prompt;
            run.submit(first..first + 8, 1);
        }
        run.step();
        finished.extend(run.finished());
    }
    assert!(finished.contains(&long), "160 tokens, 8 a step at least");
}

#[test]
fn equal_prompts_are_served_one_after_another() {
    let mut run = Run::new(OPTIONS);
    let ids = [0, 100, 200].map(|first| run.submit(first..first + 32, 1));
    let mut finished = Vec::new();
    for _ in 0..6 {
        run.step();
        finished.push(run.finished());
    }
    assert_eq!(finished, [vec![], vec![ids[0]], vec![], vec![ids[1]], vec![], vec![ids[2]]]);
}

#[test]
fn sequences_beyond_max_seqs_wait_in_order() {
    let mut run = Run::new(SchedulerOptions { max_seqs: 2, ..OPTIONS });
    let ids: Vec<_> = (0..6).map(|n| run.submit(n * 10..n * 10 + 4, 2)).collect();
    run.step();
    assert_eq!((run.scheduler.stats().running, run.scheduler.stats().waiting), (2, 4));
    assert_eq!(run.run_until_idle(), ids);
}

#[test]
fn max_tokens_is_lowered_to_what_context_and_pool_hold() {
    for (context_len, blocks, expected) in [(30, 64, 10), (256, 6, 5), (256, 64, 100)] {
        let mut run = Run::new(SchedulerOptions { context_len, blocks, ..OPTIONS });
        run.submit(0..20, 100);
        run.run_until_idle();
        assert_eq!(run.outcomes[0].finish.unwrap().completion_tokens, expected);
    }
}

#[test]
fn what_can_never_run_is_refused_with_numbers() {
    let new = |tokens: u32, max_tokens| NewSequence {
        prompt: (0..tokens).collect(),
        max_tokens,
        end_tokens: [].into(),
        cache_salt: 0,
    };
    let refused = |options: SchedulerOptions, new| Scheduler::new(options).unwrap().submit(new).unwrap_err();
    assert_eq!(refused(OPTIONS, new(0, 1)), SubmitError::EmptyPrompt);
    assert_eq!(refused(OPTIONS, new(1, 0)), SubmitError::NoTokens);
    assert_eq!(
        refused(OPTIONS, new(256, 1)),
        SubmitError::ContextExceeded { prompt_tokens: 256, context_len: 256 }
    );
    assert_eq!(
        refused(SchedulerOptions { blocks: 3, ..OPTIONS }, new(13, 1)),
        SubmitError::CacheExceeded { prompt_tokens: 13, blocks_needed: 4, blocks: 3, block_size: 4 }
    );
    assert_eq!(
        refused(SchedulerOptions { waiting_max: 0, ..OPTIONS }, new(1, 1)),
        SubmitError::QueueFull { waiting: 0 }
    );
    let zero = Scheduler::new(SchedulerOptions { block_size: 0, ..OPTIONS }).unwrap_err();
    assert_eq!(zero, OptionsError::Zero { name: "block_size" });
}

#[test]
fn cancel_returns_blocks_in_the_same_call() {
    let mut run = Run::new(OPTIONS);
    let (running, waiting) = (run.submit(0..9, 5), run.submit(0..9, 5));
    run.step();
    assert_eq!(run.scheduler.stats().blocks_used, 3);
    assert!(run.scheduler.cancel(running) && run.scheduler.cancel(waiting));
    assert!(run.scheduler.is_idle());
    assert_eq!(run.scheduler.stats().blocks_used, 0);
}

#[test]
fn a_sequence_cancelled_during_its_step_is_passed_over() {
    let mut run = Run::new(OPTIONS);
    let (cancelled, other) = (run.submit(0..4, 5), run.submit(10..14, 5));
    run.scheduler.plan(&mut run.plan);
    run.scheduler.cancel(cancelled);
    run.scheduler.advance(&run.plan, &[Some(50), Some(51)], &mut run.outcomes);
    assert_eq!(run.outcomes, [Outcome { sequence: other, token: 51, finish: None }]);
}
