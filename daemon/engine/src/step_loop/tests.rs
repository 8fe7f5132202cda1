//! What counts as the time of steps, by a clock that only the model, whoever is told, and the test itself move; and what is
//! logged of the loop's end.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::*;
use crate::engine::Place;
use crate::forward::{Best, DeviceLogits, Logits};
use crate::request::{Sampling, TokenEvent};
use crate::sample::{Sampler, SamplerOptions};
use crate::schedule::SchedulerOptions;
use crate::stream::{TokenStream, token_channel};

/// Seconds that each takes.
const FORWARD: u64 = 5;
const SAMPLE: u64 = 3;
const TELLING: u64 = 7;
const IDLE: u64 = 1000;

const VOCAB: usize = 4;
const TOKENS: u32 = 2;

#[derive(Debug, Default)]
struct Clock {
    seconds: AtomicU64,
    /// How often it was read.
    reads: AtomicUsize,
}

impl Clock {
    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::AcqRel);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Acquire)
    }
}

/// A reader takes the thread that tells it something a while.
impl Wake for Clock {
    fn wake(self: Arc<Self>) {
        self.pass(TELLING);
    }
}

struct Slow(Arc<Clock>);

impl Model for Slow {
    fn forward(&mut self, _: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        self.0.pass(FORWARD);
        Ok(Logits::on_device(SlowRow { clock: self.0.clone(), row: [0.0; VOCAB] }))
    }
}

struct SlowRow {
    clock: Arc<Clock>,
    row: [f32; VOCAB],
}

impl DeviceLogits for SlowRow {
    fn rows(&self) -> usize {
        1
    }

    fn best(&self, _: usize) -> Best {
        Best::Unknown
    }

    fn row_mut(&mut self, _: usize) -> Result<&mut [f32], ForwardError> {
        self.clock.pass(SAMPLE);
        Ok(&mut self.row)
    }
}

fn step_loop(clock: &Arc<Clock>) -> (SyncSender<Command>, StepLoop) {
    let options = SchedulerOptions {
        block_size: 16,
        blocks: 4,
        context_len: 64,
        max_seqs: 1,
        tokens_per_step: 16,
        prompt_tokens_beside_decode: 16,
        draft_tokens: 0,
        waiting_max: 2,
        prefix_cache_n: 0,
        sources_apart: false,
        opening: Vec::new(),
    };
    let (commands, receiver) = sync_channel(4);
    let inbox = Inbox {
        commands: receiver,
        abandoned: Arc::default(),
        board: Arc::new(StatsBoard::new(Duration::from_secs(60))),
    };
    let (start, reader) = (Instant::now(), clock.clone());
    let read = move || {
        let now = start + Duration::from_secs(reader.seconds.load(Ordering::Acquire));
        reader.reads.fetch_add(1, Ordering::AcqRel);
        now
    };
    let scheduler = Scheduler::new(options).unwrap();
    let step_loop = StepLoop::new(Box::new(Slow(clock.clone())), scheduler, Isa::PORTABLE, inbox);
    // Without what it has booked by its own clock.
    let stats = EngineStats::default();
    (commands, StepLoop { clock: StepClock::new(read), stats, ..step_loop })
}

fn submit(commands: &SyncSender<Command>, prompt: &[TokenId]) -> TokenStream {
    submit_counted(commands, prompt, &Arc::default())
}

/// `abandoned` counts the stream if it is dropped.
fn submit_counted(
    commands: &SyncSender<Command>,
    prompt: &[TokenId],
    abandoned: &Arc<AtomicU64>,
) -> TokenStream {
    let options = SamplerOptions {
        sampling: Sampling::greedy(),
        seed: 1,
        vocab_size: VOCAB,
        end_tokens: [].into(),
        min_tokens: 0,
        logprobs: None,
    };
    let (sink, stream) = token_channel(TOKENS, abandoned);
    let submission = Submission {
        prompt: prompt.into(),
        max_tokens: TOKENS,
        end_tokens: [].into(),
        cache_salt: 0,
        sampler: Sampler::new(options).unwrap(),
        sink,
        place: Place(Arc::new(AtomicUsize::new(1))),
        submitted: Instant::now(),
    };
    commands.send(Command::Submit(Box::new(submission))).unwrap();
    stream
}

/// Waits for what comes next, without blocking: telling it takes a while.
fn listen(clock: &Arc<Clock>, stream: &mut TokenStream) {
    let waker = Waker::from(clock.clone());
    assert!(stream.poll_next(&mut Context::from_waker(&waker)).is_pending());
}

/// Notes how many sequences run and wait, as others see it while the model computes.
struct Watching {
    board: Arc<StatsBoard>,
    seen: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Model for Watching {
    fn forward(&mut self, _: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        let stats = self.board.read();
        self.seen.lock().unwrap().push((stats.sequences_running, stats.sequences_waiting));
        Ok(Logits::on_device(SlowRow { clock: Arc::default(), row: [0.0; VOCAB] }))
    }
}

#[test]
fn what_a_step_computes_is_seen_to_run_while_it_does() {
    let clock = Arc::<Clock>::default();
    let (commands, step_loop) = step_loop(&clock);
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let watching = Watching { board: step_loop.inbox.board.clone(), seen: seen.clone() };
    let mut step_loop = StepLoop { model: Box::new(watching), ..step_loop };
    // One runs at a time.
    let _first = submit(&commands, &[1, 2, 3]);
    let _second = submit(&commands, &[1]);
    assert!(step_loop.receive().is_continue());
    step_loop.step().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, 1)]);
}

#[test]
fn a_stream_dropped_before_its_submission_is_taken_never_waits() {
    let (commands, mut step_loop) = step_loop(&Arc::default());
    let abandoned = step_loop.inbox.abandoned.clone();
    let _running = submit_counted(&commands, &[1, 2, 3], &abandoned);
    assert!(step_loop.receive().is_continue());
    // Between two looks of the engine.
    drop(submit_counted(&commands, &[1], &abandoned));
    step_loop.drop_abandoned();
    assert!(step_loop.receive().is_continue());
    step_loop.drop_abandoned();
    let stats = step_loop.inbox.board.read();
    assert_eq!((stats.sequences_waiting, stats.cancelled_total), (1, 1));
    assert_eq!(step_loop.live.len(), 1);
}

#[test]
fn steps_last_from_their_commands_to_the_end_of_their_delivery() {
    let clock = Arc::<Clock>::default();
    let (commands, mut step_loop) = step_loop(&clock);
    let mut answered = submit(&commands, &[1, 2, 3]);
    let mut refused = submit(&commands, &[]);
    listen(&clock, &mut refused);
    assert!(step_loop.receive().is_continue());
    for _ in 0..TOKENS {
        listen(&clock, &mut answered);
        step_loop.step().unwrap();
        let told = answered.poll_next(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(told, Poll::Ready(Some(TokenEvent::Token(_)))), "{told:?}");
    }
    let reads = clock.reads();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The engine's thread looks at the clock once more before it waits.
            while clock.reads() == reads {
                std::thread::yield_now();
            }
            clock.pass(IDLE);
            commands.send(Command::Stop).unwrap();
        });
        assert!(step_loop.receive().is_break());
    });
    step_loop.publish();
    let stats = step_loop.inbox.board.read();
    let steps = u64::from(TOKENS);
    assert_eq!(stats.steps_total, steps);
    assert_eq!(stats.forward_seconds_total, (steps * FORWARD) as f64);
    assert_eq!(stats.sample_seconds_total, (steps * SAMPLE) as f64);
    // The refusal too is told.
    let tellings = steps + 1;
    assert_eq!(stats.step_seconds_total, (steps * (FORWARD + SAMPLE) + tellings * TELLING) as f64);
}

struct Lost;

impl Model for Lost {
    fn forward(&mut self, _: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        Err(ForwardError { operation: "attention", reason: "it fell off the bus".into(), is_lost: true })
    }
}

#[test]
fn the_end_of_an_engine_that_lost_its_device_is_logged() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    // While there is one subscriber only, a place of logging that a thread without it reaches first is off for good.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (commands, step_loop) = step_loop(&Arc::default());
    let _stream = submit(&commands, &[1]);
    StepLoop { model: Box::new(Lost), ..step_loop }.run();
    let text = std::fs::read_to_string(log.path()).unwrap();
    let last = text.lines().last().unwrap();
    let is_told = ["ERROR", "the engine has ended", "the device was lost: the model failed in attention"];
    assert!(is_told.iter().all(|words| last.contains(words)), "{text}");
}
