//! Prefix sharing and preemption, on small cases.

use super::*;

fn cached(run: &mut Run, id: SequenceId) -> u32 {
    loop {
        run.step();
        if let Some(outcome) = run.outcomes.iter().find(|outcome| outcome.sequence == id)
            && let Some(finish) = outcome.finish
        {
            return finish.cached_tokens;
        }
    }
}

#[test]
fn hits_are_whole_blocks_and_leave_the_last_prompt_token() {
    for (prompt, expected) in [(3, 0), (4, 0), (5, 4), (8, 4), (9, 8), (12, 8)] {
        let mut run = Run::new(OPTIONS);
        run.submit(0..12, 2);
        run.run_until_idle();
        let id = run.submit(0..prompt, 1);
        assert_eq!(cached(&mut run, id), expected, "a prompt of {prompt} tokens");
    }
}

#[test]
fn generated_tokens_are_hit_by_the_next_turn() {
    let mut run = Run::new(OPTIONS);
    run.submit(0..6, 7);
    run.run_until_idle();
    let next_turn = (0..6).chain([1000; 7]).chain(20..25);
    let id = run.submit(next_turn, 1);
    assert_eq!(cached(&mut run, id), 12);
}

#[test]
fn different_salts_share_nothing() {
    let mut run = Run::new(OPTIONS);
    run.submit_salted(0..12, 1, 1);
    run.run_until_idle();
    let other = run.submit_salted(0..12, 1, 2);
    assert_eq!(cached(&mut run, other), 0);
    let same = run.submit_salted(0..12, 1, 1);
    assert_eq!(cached(&mut run, same), 8);
}

#[test]
fn a_prefix_cache_of_zero_shares_nothing() {
    let mut run = Run::new(SchedulerOptions { prefix_cache_n: 0, ..OPTIONS });
    run.submit(0..12, 1);
    run.run_until_idle();
    assert_eq!(run.scheduler.stats().blocks_cached, 0);
    let id = run.submit(0..12, 1);
    assert_eq!(cached(&mut run, id), 0);
}

#[test]
fn only_the_last_prefix_cache_n_prefixes_are_kept() {
    let mut run = Run::new(SchedulerOptions { prefix_cache_n: 2, ..OPTIONS });
    for first in [0, 100, 200] {
        run.submit(first..first + 12, 1);
        run.run_until_idle();
    }
    assert_eq!(run.scheduler.stats().blocks_cached, 6);
    let hits = [200, 100, 0].map(|first| {
        let id = run.submit(first..first + 12, 1);
        cached(&mut run, id)
    });
    assert_eq!(hits, [8, 8, 0]);
}

#[test]
fn the_prefix_of_a_short_answer_keeps_no_room_for_a_long_one() {
    let mut run = Run::new(OPTIONS);
    run.submit(0..5, 100);
    run.step();
    run.step_with(7);
    assert!(run.scheduler.is_idle());
    run.scheduler.assert_consistent();
}

#[test]
fn copies_of_a_prompt_are_computed_once() {
    let mut run = Run::new(OPTIONS);
    let ids: Vec<_> = (0..4).map(|_| run.submit(0..41, 3)).collect();
    let mut rows = 0;
    let mut finished = Vec::new();
    while !run.scheduler.is_idle() {
        run.step();
        rows += run.plan.rows().len();
        finished.extend(run.finished());
    }
    // The prompt once, its last token by the three others, and two decodes each.
    assert_eq!(rows, 41 + 3 + 4 * 2);
    assert_eq!(finished.len(), ids.len());
}

#[test]
fn prompts_that_wait_are_not_copied() {
    let mut run = Run::new(SchedulerOptions { max_seqs: 1, prefix_cache_n: 0, ..OPTIONS });
    let ids: Vec<_> = (0..4).map(|_| run.submit(0..41, 3)).collect();
    for _ in 0..2 {
        run.scheduler.assert_consistent();
        run.step();
    }
    assert_eq!(run.scheduler.stats().waiting, 3);
    assert_eq!(run.run_until_idle(), ids);
}

#[test]
fn a_copy_runs_alone_when_the_sequence_it_waited_for_is_cancelled() {
    let mut run = Run::new(OPTIONS);
    let first = run.submit(0..60, 1);
    let copy = run.submit(0..60, 1);
    run.step();
    assert_eq!(run.rows_of(copy), 0);
    run.scheduler.cancel(first);
    assert_eq!(cached(&mut run, copy), 16);
}

#[test]
fn an_older_sequence_takes_the_blocks_of_the_newest() {
    let options = SchedulerOptions { blocks: 8, prefix_cache_n: 0, ..OPTIONS };
    let mut run = Run::new(options);
    let (old, new) = (run.submit(0..8, 24), run.submit(100..108, 20));
    let mut sources = Vec::new();
    let mut finished = Vec::new();
    let mut preempted = Vec::new();
    while !run.scheduler.is_idle() {
        run.step();
        preempted.extend_from_slice(run.plan.preempted());
        finished.extend(run.finished());
        assert!(run.finished().contains(&old) || finished.contains(&old) || run.rows_of(old) > 0);
        if finished.contains(&old) && sources.is_empty() && run.rows_of(new) > 1 {
            sources = run.plan.rows().iter().map(|row| (row.position, row.source)).collect();
        }
    }
    assert_eq!((finished, preempted), (vec![old, new], vec![new]));
    // Computed again with what it had generated, and the model can tell which is which.
    let generated = sources.len() as u32 - 8;
    assert!(generated > 0);
    let expected = (0..8).map(|position| (position, TokenSource::Prompt));
    let expected = expected.chain((8..8 + generated).map(|position| (position, TokenSource::Generated)));
    assert_eq!(sources, expected.collect::<Vec<_>>());
}

#[test]
fn a_preempted_sequence_waits_until_all_it_had_fits() {
    let mut run = Run::new(SchedulerOptions { blocks: 8, prefix_cache_n: 0, ..OPTIONS });
    for first in [0, 100] {
        run.submit(first..first + 10, 20);
    }
    run.run_until_idle();
    assert_eq!(run.scheduler.stats().preemptions_total, 1);
}

#[test]
fn a_cached_prefix_is_given_up_for_running_sequences() {
    let mut run = Run::new(SchedulerOptions { blocks: 5, ..OPTIONS });
    run.submit(0..12, 1);
    run.run_until_idle();
    assert_eq!(run.scheduler.stats().blocks_cached, 3);
    run.submit(100..116, 1);
    run.run_until_idle();
    let id = run.submit(0..12, 1);
    assert_eq!(cached(&mut run, id), 4, "the end of the oldest prefix went first");
}

#[test]
fn decoding_does_not_grow_the_plan() {
    let mut run = Run::new(OPTIONS);
    for n in 0..8 {
        run.submit(n * 10..n * 10 + 8, 24);
    }
    (0..10).for_each(|_| run.step());
    let before = run.plan.capacities();
    (0..10).for_each(|_| run.step());
    assert_eq!(run.plan.rows().len(), 8);
    assert_eq!(run.plan.capacities(), before);
}

#[test]
fn nothing_is_admitted_into_blocks_that_running_sequences_still_need() {
    let mut run = Run::new(SchedulerOptions { blocks: 8, ..OPTIONS });
    let long = run.submit(0..28, 4);
    run.step();
    let short = run.submit(100..104, 8);
    assert_eq!(run.run_until_idle(), [long, short]);
    assert_eq!(run.scheduler.stats().preemptions_total, 0);
}

#[test]
fn free_blocks_that_a_prefix_hit_would_take_are_not_counted_as_free() {
    let mut run = Run::new(SchedulerOptions { blocks: 8, ..OPTIONS });
    run.submit(0..12, 2);
    run.run_until_idle();
    let running = run.submit(100..112, 20);
    run.step();
    let hit = run.submit(0..13, 15);
    assert_eq!(run.run_until_idle(), [running, hit]);
    assert_eq!(run.scheduler.stats().preemptions_total, 0);
}

#[test]
fn blocks_of_a_dropped_prefix_stay_findable_while_they_are_used() {
    let mut run = Run::new(SchedulerOptions { prefix_cache_n: 1, ..OPTIONS });
    run.submit(0..12, 1);
    run.run_until_idle();
    run.submit(0..9, 30);
    run.step();
    run.submit(100..112, 1);
    run.step();
    let id = run.submit(0..9, 1);
    assert_eq!(cached(&mut run, id), 8);
}

#[test]
fn a_prompt_takes_reused_blocks_in_their_order_in_the_cache() {
    let mut run = Run::new(SchedulerOptions { blocks: 4, ..OPTIONS });
    run.submit(0..15, 1);
    run.run_until_idle();
    // What is cached is given up from its end.
    run.submit(100..115, 1);
    run.step();
    assert_eq!(run.plan.block_table(0), [0, 1, 2, 3]);
}
