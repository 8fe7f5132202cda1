//! The start that all conversations have, of blocks of 4 tokens.

use super::*;

/// Two whole blocks, and two tokens.
const OPENING: std::ops::Range<u32> = 0..10;
use crate::schedule::opening::KEPT;

fn run(options: SchedulerOptions) -> Run {
    Run::new(SchedulerOptions { opening: OPENING.collect(), ..options })
}

impl Run {
    /// How many of its tokens were found, and what its first step copies to which of its blocks.
    fn start_of(&mut self, prompt: impl IntoIterator<Item = u32>) -> (u32, Vec<(BlockCopy, u32)>) {
        let id = self.submit(prompt, 3);
        self.step();
        let index = self.plan.sequences().iter().position(|planned| planned.id == id).unwrap();
        let own = self.plan.block_table(index).get(2).copied().unwrap_or_default();
        let copies = self.plan.copies().iter().map(|copy| (*copy, own)).collect();
        let start = (self.plan.sequences()[index].cached_tokens, copies);
        self.run_until_idle();
        start
    }

    /// Of a prompt that begins with `tokens`, how many were found beside whole blocks, which are checked.
    fn check(&mut self, tokens: impl IntoIterator<Item = u32>, expected: u32) {
        let (cached, copies) = self.start_of(tokens);
        assert_eq!(cached, expected);
        let is_kept_one =
            |(copy, own): &(BlockCopy, u32)| *copy == BlockCopy { from: KEPT, to: *own } && *own != KEPT;
        assert_eq!(copies.len(), usize::from(!expected.is_multiple_of(4)), "{copies:?}");
        assert!(copies.iter().all(is_kept_one), "{copies:?}");
    }
}

#[test]
fn a_start_is_kept_after_the_first_and_copied_to_those_that_begin_alike() {
    let mut run = run(OPTIONS);
    run.submit(OPENING.chain(100..120), 1);
    run.step();
    assert_eq!(run.plan.copies(), []);
    let from = run.plan.block_table(0)[2];
    run.step();
    assert_eq!(run.plan.copies(), [BlockCopy { from, to: KEPT }]);
    run.run_until_idle();
    run.check(OPENING.chain(200..220), 10);
    run.check((0..9).chain(200..220), 9);
    run.check(OPENING, 9);
    run.check((0..8).chain(300..320), 8);
    run.check((1..10).chain(300..320), 0);
}

#[test]
fn a_start_that_nobody_has_computed_whole_is_not_kept() {
    let mut run = run(OPTIONS);
    for last in 300..303 {
        run.submit((0..9).chain([last; 8]), 3);
        run.run_until_idle();
        assert_eq!(run.plan.copies(), []);
    }
    run.check(OPENING.chain(200..220), 8);
}

#[test]
fn a_start_is_kept_once_the_step_that_copies_it_was_computed() {
    let mut run = run(OPTIONS);
    let id = run.submit(OPENING.chain(100..120), 9);
    run.step();
    run.scheduler.plan(&mut run.plan);
    assert_eq!(run.plan.copies().len(), 1);
    // The step failed, and with it its sequences.
    run.scheduler.cancel(id);
    run.check(OPENING.chain(200..206), 8);
    run.check(OPENING.chain(300..306), 10);
}

#[test]
fn a_start_of_whole_blocks_and_one_where_nothing_is_shared_need_no_copy() {
    let aligned = SchedulerOptions { opening: (0..8).collect(), ..OPTIONS };
    let unshared = SchedulerOptions { opening: OPENING.collect(), prefix_cache_n: 0, ..OPTIONS };
    for options in [aligned, unshared] {
        let mut run = Run::new(options);
        for last in 200..204 {
            run.submit(OPENING.chain([last; 9]), 3);
            run.run_until_idle();
            assert_eq!(run.plan.copies(), []);
        }
    }
}
