//! The engine's thread, queue and streams over a fake model: every answer is the one of a lone run, every stream ends
//! once, and nothing stays behind.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use ostro_engine::request::{FinishReason, Generation, Sampling, StopRules, TokenId};
use ostro_engine::schedule::{Row, SchedulerOptions, StepPlan};
use ostro_engine::{
    Engine, EngineHealth, ForwardError, LoadError, LoadProgress, LoadStage, Logits, Model, SubmitError,
};

/// A gate before every step: `open` lets one through, dropping it lets all through.
fn gate() -> (SyncSender<()>, impl FnMut(&StepPlan) -> Result<(), ForwardError> + Send + 'static) {
    let (open, wait): (_, Receiver<()>) = sync_channel(1024);
    let before = move |_: &StepPlan| {
        let _ = wait.recv();
        Ok(())
    };
    (open, before)
}

/// Of each step that samples, whether all logits but the largest may be left out.
type BestOnly = Arc<Mutex<Vec<bool>>>;

fn best_only_steps() -> (BestOnly, impl FnMut(&StepPlan) -> Result<(), ForwardError> + Send + 'static) {
    let steps = BestOnly::default();
    let seen = steps.clone();
    let before = move |plan: &StepPlan| {
        if !plan.samples().is_empty() {
            seen.lock().unwrap().push(plan.is_best_only());
        }
        Ok(())
    };
    (steps, before)
}

fn assert_idle(engine: &Engine) {
    let stats = wait_for(engine, "idle", |stats| stats.sequences_running + stats.sequences_waiting == 0);
    assert_eq!(stats.blocks_used, 0);
}

#[test]
fn crowd_gets_the_answers_of_lone_runs() {
    // 40 blocks for 16 sequences of up to 160 tokens: preemption is certain.
    let engine = engine(SchedulerOptions { blocks: 40, ..options() });
    let shared = prompt(1, 70);
    let prompts: Vec<Vec<TokenId>> = (0..48u64)
        .map(|i| match i % 3 {
            0 => [&shared[..], &prompt(i, 1 + i as usize % 30)].concat(),
            1 => prompt(i, 1 + i as usize),
            _ => shared.clone(),
        })
        .collect();
    let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(greedy(prompt, 60)).unwrap()).collect();
    for (prompt, stream) in prompts.iter().zip(streams) {
        let answer = read(stream);
        assert_eq!(answer.ids(), expected(prompt, 60));
        let usage = answer.finished().usage;
        assert_eq!(usage.prompt_tokens as usize, prompt.len());
        assert_eq!(usage.completion_tokens as usize, answer.tokens.len());
    }
    let stats = engine.stats();
    assert!(stats.preemptions_total > 0, "{stats:?}");
    assert!(stats.prefix_hits_total > 0, "{stats:?}");
    assert_eq!(stats.finished_stop_total + stats.finished_length_total, 48);
    assert_idle(&engine);
}

#[test]
fn dropped_stream_frees_its_blocks() {
    let (open, before) = gate();
    let engine = engine_with(options(), before);
    let mut stream = engine.submit(greedy(&prompt(1, 40), 100)).unwrap();
    open.send(()).unwrap();
    stream.blocking_next();
    wait_for(&engine, "running", |stats| stats.blocks_used == 3);
    drop(stream);
    drop(open);
    wait_for(&engine, "cancelled", |stats| stats.cancelled_total == 1);
    assert_idle(&engine);
}

#[test]
fn stream_dropped_in_the_queue_never_runs() {
    let (open, mut before) = gate();
    let sequences = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = sequences.clone();
    let engine = engine_with(SchedulerOptions { max_seqs: 1, ..options() }, move |plan| {
        seen.lock().unwrap().extend(plan.sequences().iter().map(|sequence| sequence.id.0));
        before(plan)
    });
    let first = engine.submit(greedy(&prompt(1, 5), 10)).unwrap();
    let second = engine.submit(greedy(&prompt(2, 5), 10)).unwrap();
    let third = engine.submit(greedy(&prompt(3, 5), 10)).unwrap();
    drop(second);
    drop(open);
    assert_eq!(read(first).ids(), expected(&prompt(1, 5), 10));
    assert_eq!(read(third).ids(), expected(&prompt(3, 5), 10));
    assert_eq!(engine.stats().cancelled_total, 1);
    assert_eq!(sequences.lock().unwrap().len(), 2);
    assert_idle(&engine);
}

#[test]
fn streams_with_random_drops_leave_nothing_behind() {
    let engine = engine(SchedulerOptions { blocks: 60, ..options() });
    std::thread::scope(|scope| {
        for thread in 0..64u64 {
            let engine = engine.clone();
            scope.spawn(move || {
                for round in 0..8 {
                    let prompt =
                        prompt(thread * 100 + round, 1 + (thread as usize * 7 + round as usize) % 90);
                    let mut stream = engine.submit(greedy(&prompt, 50)).unwrap();
                    if (thread + round) % 3 == 0 {
                        (0..thread % 9).for_each(|_| drop(stream.blocking_next()));
                        continue;
                    }
                    assert_eq!(read(stream).ids(), expected(&prompt, 50));
                }
            });
        }
    });
    let stats = wait_for(&engine, "all ended", |stats| {
        stats.finished_stop_total + stats.finished_length_total + stats.cancelled_total == 512
    });
    assert!(stats.cancelled_total > 0);
    assert_eq!(stats.failed_total, 0);
    assert_idle(&engine);
}

#[test]
fn copies_share_their_prompt() {
    let engine = engine(options());
    let prompt = prompt(5, 100);
    let streams: Vec<_> = (0..4).map(|_| engine.submit(greedy(&prompt, 20)).unwrap()).collect();
    let answers: Vec<_> = streams.into_iter().map(read).collect();
    assert!(answers.iter().all(|answer| answer.ids() == expected(&prompt, 20)));
    // 6 full blocks of 16 are found by the three copies.
    assert_eq!(engine.stats().prefix_hits_total, 3 * 96);
    assert_eq!(answers[3].finished().usage.cached_tokens, 96);
}

#[test]
fn salts_do_not_share() {
    let engine = engine(options());
    let prompt = prompt(5, 100);
    for cache_salt in [1, 2] {
        let generation = Generation { cache_salt, ..greedy(&prompt, 20) };
        assert_eq!(read(engine.submit(generation).unwrap()).finished().usage.cached_tokens, 0);
    }
}

#[test]
fn limits_end_an_answer() {
    let engine = engine(SchedulerOptions { context_len: 64, ..options() });
    let no_end = |max_tokens| StopRules { max_tokens, ignore_eos: true, ..StopRules::default() };
    for (prompt_len, max_tokens, tokens) in [(10, 7, 7), (10, 1000, 54), (63, 5, 1), (1, u32::MAX, 63)] {
        let mut generation = greedy(&prompt(9, prompt_len), max_tokens);
        generation.stop = no_end(max_tokens);
        let answer = read(engine.submit(generation).unwrap());
        assert_eq!((answer.tokens.len(), answer.reason()), (tokens, FinishReason::Length));
    }
}

#[test]
fn end_tokens_end_an_answer() {
    let engine = engine(options());
    let lone = expected(&prompt(22, 10), 200);
    let third = lone[2];
    let mut generation = greedy(&prompt(22, 10), 200);
    generation.stop.token_ids = vec![third];
    let answer = read(engine.submit(generation).unwrap());
    let first = lone.iter().position(|token| *token == third).unwrap();
    assert_eq!((answer.ids(), answer.reason()), (lone[..=first].to_vec(), FinishReason::Stop(third)));
    let answer = read(engine.submit(greedy(&prompt(22, 10), 200)).unwrap());
    assert_eq!(answer.reason(), FinishReason::Stop(END), "the model's own end");
}

#[test]
fn seed_decides_whatever_else_runs() {
    let engine = engine(SchedulerOptions { blocks: 60, ..options() });
    let sampled = |seed| {
        let mut generation = greedy(&prompt(2, 30), 40);
        generation.sampling = Sampling { seed, ..Sampling::default() };
        generation.stop.ignore_eos = true;
        engine.submit(generation).unwrap()
    };
    let alone = read(sampled(Some(11))).ids();
    let crowd: Vec<_> = (0..20).map(|i| engine.submit(greedy(&prompt(50 + i, 40), 60)).unwrap()).collect();
    let (same, other, none) = (sampled(Some(11)), sampled(Some(12)), sampled(None));
    assert_eq!(read(same).ids(), alone);
    let other = read(other).ids();
    assert_ne!(other, alone);
    let none = read(none).ids();
    assert!(none != alone && none != other);
    crowd.into_iter().for_each(|stream| drop(read(stream)));
}

#[test]
fn what_cannot_run_is_refused_at_once() {
    let engine = engine(SchedulerOptions { blocks: 4, ..options() });
    // 4 blocks of 16, and a last token that is never computed.
    assert_eq!(engine.info().context_len, 65);
    let refused = |generation| engine.submit(generation).unwrap_err();
    assert_eq!(refused(greedy(&[], 5)), SubmitError::EmptyPrompt);
    assert_eq!(refused(greedy(&[1], 0)), SubmitError::NoTokens);
    assert_eq!(
        refused(greedy(&[1, VOCAB], 5)),
        SubmitError::UnknownToken { token: VOCAB, vocab_size: VOCAB }
    );
    let long = SubmitError::ContextExceeded { prompt_tokens: 65, context_len: 65 };
    assert_eq!(refused(greedy(&prompt(1, 65), 5)), long);
    for (prompt_len, max_tokens, min_tokens, tokens_max) in [(60, 50, 6, 5), (9, 5, 6, 5)] {
        let mut endless = greedy(&prompt(1, prompt_len), max_tokens);
        endless.stop.min_tokens = min_tokens;
        assert_eq!(refused(endless.clone()), SubmitError::MinTokens { min_tokens, tokens_max });
        endless.stop.min_tokens = tokens_max;
        assert_eq!(read(engine.submit(endless).unwrap()).tokens.len(), 5);
    }
    let mut hot = greedy(&[1], 5);
    hot.sampling.temperature = -1.0;
    assert!(matches!(refused(hot), SubmitError::Sampling(_)));
    assert_eq!(
        read(engine.submit(greedy(&prompt(1, 64), 5)).unwrap()).tokens.len(),
        1,
        "the longest that fits"
    );
}

#[test]
fn full_queue_refuses_and_recovers() {
    let (open, before) = gate();
    let engine = engine_with(SchedulerOptions { max_seqs: 2, waiting_max: 3, ..options() }, before);
    assert!(engine.has_room(5) && !engine.has_room(6));
    let mut streams: Vec<_> = (0..5).map(|i| engine.submit(greedy(&prompt(i, 9), 5)).unwrap()).collect();
    assert!(engine.has_room(0) && !engine.has_room(1));
    assert_eq!(engine.submit(greedy(&prompt(9, 9), 5)).unwrap_err(), SubmitError::QueueFull { live: 5 });
    drop(open);
    drop(read(streams.pop().unwrap()));
    drop(read(engine.submit(greedy(&prompt(9, 9), 5)).unwrap()));
}

#[test]
fn model_error_fails_the_step_and_the_engine_goes_on() {
    let steps = AtomicUsize::new(0);
    let engine = engine_with(options(), move |_| match steps.fetch_add(1, Ordering::Relaxed) {
        3 => Err(ForwardError { operation: "attention", reason: "out of luck".into(), is_lost: false }),
        _ => Ok(()),
    });
    let answer = read(engine.submit(greedy(&prompt(1, 20), 50)).unwrap());
    assert_eq!(answer.tokens.len(), 3);
    assert_eq!(answer.failure(), "the model failed in attention: out of luck");
    assert_eq!(engine.stats().failed_total, 1);
    assert_eq!(read(engine.submit(greedy(&prompt(1, 20), 50)).unwrap()).ids(), expected(&prompt(1, 20), 50));
    assert_idle(&engine);
}

#[test]
fn lost_device_ends_the_engine_and_says_so() {
    let engine = engine_with(options(), |_| {
        Err(ForwardError { operation: "attention", reason: "it fell off the bus".into(), is_lost: true })
    });
    let answer = read(engine.submit(greedy(&prompt(1, 20), 50)).unwrap());
    assert_eq!(answer.failure(), "the model failed in attention: it fell off the bus");
    while engine.stats().health == EngineHealth::Running {
        std::thread::yield_now();
    }
    let reason = "the device was lost: the model failed in attention: it fell off the bus";
    assert_eq!(engine.stats().health, EngineHealth::Failed(reason.into()));
    let refused = engine.submit(greedy(&prompt(2, 20), 50)).unwrap_err();
    assert_eq!(refused, SubmitError::Unavailable(reason.into()));
}

#[test]
fn broken_logits_fail_their_sequence_only() {
    let engine = Engine::start(
        |_| {
            let model = Poisoned(Fake::new(&options()), |row| (row.position, row.token) == (0, 13));
            parts(options(), model)
        },
        &|_| (),
    )
    .unwrap();
    let [poisoned, sound] =
        [&[13][..], &prompt(1, 20)].map(|prompt| engine.submit(greedy(prompt, 50)).unwrap());
    assert_eq!(read(poisoned).failure(), "the logits are not finite numbers");
    assert_eq!(read(sound).ids(), expected(&prompt(1, 20), 50));
    assert_eq!(engine.stats().failed_total, 1);
    assert_idle(&engine);
}

/// Broken logits behind a draft end the answer where they would without one.
#[test]
fn tokens_before_broken_logits_of_a_draft_are_delivered() {
    const PROMPT: [TokenId; 9] = [1, 3, 5, 2, 4, 1, 3, 5, 2];
    const BROKEN: u32 = 12;
    let answer = expected(&PROMPT, 40);
    let tokens = BROKEN as usize + 1 - PROMPT.len();
    let ends = [0, 7].map(|draft_tokens| {
        let options = SchedulerOptions { draft_tokens, ..options() };
        let build = move |_: &dyn Fn(_)| {
            let model = Poisoned(Fake::new(&options), |row| row.position == BROKEN);
            parts(options.clone(), model)
        };
        let engine = Engine::start(build, &|_| ()).unwrap();
        let found = read(engine.submit(greedy(&PROMPT, 40)).unwrap());
        assert_eq!(found.failure(), "the logits are not finite numbers");
        assert_eq!(found.ids(), answer[..tokens]);
        assert_idle(&engine);
        engine.stats()
    });
    assert_eq!(ends.each_ref().map(|stats| stats.generated_tokens_total as usize), [tokens; 2]);
    assert_eq!(ends[0].draft_tokens_total, 0);
    assert!(ends[1].accepted_tokens_total > 0, "{:?}", ends[1]);
}

#[test]
fn drafts_save_steps_and_change_no_token() {
    let sampling = [
        Sampling::greedy(),
        Sampling { seed: Some(3), ..Sampling::default() },
        Sampling { seed: Some(4), temperature: 0.3, top_k: Some(5), ..Sampling::default() },
        Sampling { repetition_penalty: 1.1, frequency_penalty: 0.1, ..Sampling::greedy() },
    ];
    for sampling in sampling {
        let [plain, drafting] = [0, 7].map(|draft_tokens| {
            let engine = engine(SchedulerOptions { draft_tokens, ..options() });
            let mut generation = greedy(&prompt(3, 30), 200);
            generation.sampling = sampling.clone();
            generation.stop.ignore_eos = true;
            generation.logprobs = Some(3);
            let answer = read(engine.submit(generation).unwrap());
            assert_idle(&engine);
            (answer.tokens, engine.stats())
        });
        assert_eq!(plain.0, drafting.0);
        let stats = drafting.1;
        assert!(stats.accepted_tokens_total > 10, "{stats:?}");
        assert_eq!(stats.steps_total + stats.accepted_tokens_total, plain.1.steps_total);
    }
}

/// A model that gives no numbers after some rows.
struct Poisoned(Fake, fn(&Row) -> bool);

impl Model for Poisoned {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        let mut logits = self.0.forward(plan)?;
        for (index, sample) in plan.samples().iter().enumerate() {
            let row = plan.rows()[sample.row as usize];
            if self.1(&row) {
                logits.row_mut(index).unwrap()[5] = f32::NAN;
            }
        }
        Ok(logits)
    }
}

#[test]
fn panic_fails_everyone_and_is_reported() {
    let (open, mut before) = gate();
    let steps = AtomicUsize::new(0);
    let engine = engine_with(SchedulerOptions { max_seqs: 2, ..options() }, move |plan| {
        assert!(steps.fetch_add(1, Ordering::Relaxed) < 2, "a broken kernel");
        before(plan)
    });
    let streams: Vec<_> = (0..5).map(|i| engine.submit(greedy(&prompt(i, 9), 50)).unwrap()).collect();
    drop(open);
    for stream in streams {
        assert!(read(stream).failure().contains("a broken kernel"));
    }
    let stats = wait_for(&engine, "reported", |stats| stats.health != EngineHealth::Running);
    assert!(matches!(&stats.health, EngineHealth::Failed(reason) if reason.contains("a broken kernel")));
    assert!(matches!(engine.submit(greedy(&[1], 5)), Err(SubmitError::Unavailable(_))));
}

#[test]
fn a_step_that_stands_still_is_told_until_it_ends() {
    let (open, before) = gate();
    let limit = Duration::from_millis(50);
    let engine = engine_within(limit, options(), before);
    std::thread::sleep(2 * limit);
    wait_for(&engine, "waiting for work", |stats| stats.health == EngineHealth::Running);

    let stream = engine.submit(greedy(&prompt(1, 9), 5)).unwrap();
    let stats = wait_for(&engine, "reported", |stats| stats.health != EngineHealth::Running);
    assert!(
        matches!(&stats.health, EngineHealth::Failed(reason) if reason.starts_with("a step has not ended"))
    );
    assert!(matches!(engine.submit(greedy(&[1], 5)), Err(SubmitError::Unavailable(_))));

    drop(open);
    assert_eq!(read(stream).ids(), expected(&prompt(1, 9), 5));
    wait_for(&engine, "well again", |stats| stats.health == EngineHealth::Running);
}

#[test]
fn shutdown_ends_every_stream() {
    let (open, before) = gate();
    let engine = engine_with(SchedulerOptions { max_seqs: 2, ..options() }, before);
    let streams: Vec<_> = (0..5).map(|i| engine.submit(greedy(&prompt(i, 9), 400)).unwrap()).collect();
    let stopper = engine.clone();
    let stopping = std::thread::spawn(move || stopper.shutdown());
    drop(open);
    let answers: Vec<_> = streams.into_iter().map(read).collect();
    stopping.join().unwrap();
    for (answer, i) in answers.iter().zip(0..) {
        let whole = expected(&prompt(i, 9), 400);
        assert_eq!(answer.ids(), whole[..answer.tokens.len()], "what was sent is right");
    }
    assert_eq!(engine.stats().health, EngineHealth::Stopped);
    assert!(matches!(engine.submit(greedy(&[1], 5)), Err(SubmitError::Unavailable(_))));
}

#[test]
fn last_handle_stops_the_engine() {
    let (open, before) = gate();
    let engine = engine_with(options(), before);
    let mut stream = engine.submit(greedy(&prompt(1, 9), 400)).unwrap();
    open.send(()).unwrap();
    stream.blocking_next();
    drop(open);
    drop(engine);
    drop(read(stream));
}

#[test]
fn failure_to_build_is_an_error() {
    let refused = Engine::start(
        |progress| {
            progress(LoadProgress { stage: LoadStage::Read, done: 1, total: 2 });
            parts(SchedulerOptions { block_size: 0, ..options() }, Fake::new(&options()))
        },
        &|progress| assert_eq!((progress.stage, progress.done), (LoadStage::Read, 1)),
    );
    assert!(matches!(refused, Err(LoadError::Schedule(_))));
    let panicked = Engine::start(|_| panic!("a broken reader"), &|_| ());
    assert!(matches!(panicked, Err(LoadError::Panic(reason)) if reason == "a broken reader"));
}

#[test]
fn logits_are_left_out_only_where_every_sequence_is_greedy() {
    let (steps, before) = best_only_steps();
    // A step a token.
    let engine = engine_with(SchedulerOptions { draft_tokens: 0, ..options() }, before);
    let take = || std::mem::take(&mut *steps.lock().unwrap());
    let plain = greedy(&prompt(1, 9), 5);
    read(engine.submit(plain.clone()).unwrap());
    assert_eq!(take(), [true; 5]);
    let sampling = Sampling { seed: Some(3), temperature: 0.5, ..Sampling::default() };
    let sampled = Generation { sampling, ..plain.clone() };
    read(engine.submit(sampled.clone()).unwrap());
    read(engine.submit(Generation { logprobs: Some(0), ..plain.clone() }).unwrap());
    assert_eq!(take(), [false; 10]);
    // Long enough for all to run at once for a while.
    let long = |of: &Generation| Generation {
        stop: StopRules { max_tokens: 200, ignore_eos: true, ..StopRules::default() },
        ..of.clone()
    };
    let streams = [long(&plain), long(&sampled), long(&plain)].map(|of| engine.submit(of).unwrap());
    let answers = streams.map(|stream| read(stream).ids());
    assert!(answers[0] == answers[2] && answers[0].len() == 200);
    let together = take();
    assert!(together.iter().filter(|best_only| !**best_only).count() >= 200, "{together:?}");
}
