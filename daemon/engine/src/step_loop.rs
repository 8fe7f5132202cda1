//! The engine's thread: owns model, scheduler and samplers, and turns submissions into events, step by step.
//!
//! Commands come through a bounded channel; it parks on it when nothing runs. An error of one sequence fails that
//! sequence, an error of the model fails the step's sequences; a panic or the loss of the device fails all and ends the engine, as its
//! health says.

mod clock;
mod live;
mod sampling;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use ostro_kernels::cpu::isa::Isa;

use crate::engine::{Command, Submission};
use crate::forward::{ForwardError, Model};
use crate::request::{FinishReason, TokenId};
use crate::sample::{SampleError, Scratch};
use crate::schedule::{NewSequence, Outcome, Scheduler, SequenceId, StepPlan};
use crate::stats::{EngineHealth, EngineStats, StatsBoard};
use clock::{Part, StepClock};
use live::LiveSequences;
use sampling::{Planned, Sampled};

/// Failed steps one after the other that end the engine: whoever watches it starts another one.
const FAILED_STEPS_MAX: u32 = 10;

/// What the thread shares with the engine's handle.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) commands: Receiver<Command>,
    /// Streams dropped before their end, ever.
    pub(crate) abandoned: Arc<AtomicU64>,
    pub(crate) board: Arc<StatsBoard>,
}

pub(crate) struct StepLoop {
    model: Box<dyn Model>,
    scheduler: Scheduler,
    live: LiveSequences,
    inbox: Inbox,
    abandoned_seen: u64,
    clock: StepClock,
    stats: EngineStats,
    plan: StepPlan,
    sampled: Vec<Option<TokenId>>,
    outcomes: Vec<Outcome>,
    /// Of this step, told after it is booked.
    failures: Vec<(SequenceId, SampleError)>,
    /// Of each thread that has sampled.
    scratches: Vec<Scratch>,
    /// Since one succeeded.
    failed_steps: u32,
}

impl StepLoop {
    pub(crate) fn new(model: Box<dyn Model>, scheduler: Scheduler, isa: Isa, inbox: Inbox) -> Self {
        let mut step_loop = StepLoop {
            model,
            scheduler,
            live: LiveSequences::default(),
            inbox,
            abandoned_seen: 0,
            clock: StepClock::new(Instant::now),
            stats: EngineStats::default(),
            plan: StepPlan::default(),
            sampled: Vec::new(),
            outcomes: Vec::new(),
            failures: Vec::new(),
            scratches: vec![Scratch::new(isa)],
            failed_steps: 0,
        };
        step_loop.publish();
        step_loop
    }

    /// Serves until it is told to stop or panics; every accepted sequence gets its last event.
    pub(crate) fn run(mut self) {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let (health, reason) = match served {
            Ok(Ok(())) => (EngineHealth::Stopped, "the engine was stopped".to_owned()),
            Ok(Err(error)) => {
                let what = if error.is_lost { "was lost" } else { "refuses every step" };
                let reason = format!("the device {what}: {error}");
                (EngineHealth::Failed(reason.clone()), reason)
            }
            Err(panic) => {
                let reason = format!("the engine failed: {}", panic_text(panic.as_ref()));
                (EngineHealth::Failed(reason.clone()), reason)
            }
        };
        if let EngineHealth::Failed(reason) = &health {
            tracing::error!(reason, "the engine has ended");
        }
        self.inbox.board.set_health(health);
        let mut queued = Vec::new();
        while let Ok(command) = self.inbox.commands.try_recv() {
            if let Command::Submit(submission) = command {
                queued.push(submission);
            }
        }
        self.stats.failed_total += (self.live.len() + queued.len()) as u64;
        self.stats = EngineStats { sequences_running: 0, sequences_waiting: 0, blocks_used: 0, ..self.stats };
        self.inbox.board.publish(&self.stats);
        self.live.fail_all(&reason);
        queued.into_iter().for_each(|submission| submission.refuse(&reason));
    }

    /// # Errors
    /// When the device is lost, or computes no step any more.
    fn serve(&mut self) -> Result<(), ForwardError> {
        self.clock.skip();
        while self.receive().is_continue() {
            self.drop_abandoned();
            self.step()?;
        }
        Ok(())
    }

    /// Takes what was sent; waits for it when there is nothing else to do.
    fn receive(&mut self) -> ControlFlow<()> {
        if self.scheduler.is_idle() {
            // Books the last delivery, which may be followed by nothing for long.
            self.publish();
            self.inbox.board.rest();
            let received = self.inbox.commands.recv();
            self.clock.skip();
            match received {
                Ok(command) => self.obey(command)?,
                Err(_) => return ControlFlow::Break(()),
            }
        }
        loop {
            match self.inbox.commands.try_recv() {
                Ok(command) => self.obey(command)?,
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
            }
        }
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Submit(submission) => self.enqueue(submission),
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn enqueue(&mut self, submission: Box<Submission>) {
        // That somebody left may be seen already, and would not make this one looked for again.
        match submission.sink.left() {
            Some(left) => self.stats.count_left(left),
            None => self.submit(submission),
        }
        self.publish();
    }

    fn submit(&mut self, submission: Box<Submission>) {
        let new = NewSequence {
            prompt: submission.prompt.clone(),
            max_tokens: submission.max_tokens,
            end_tokens: submission.end_tokens.clone(),
            cache_salt: submission.cache_salt,
        };
        match self.scheduler.submit(new) {
            Ok(id) => self.live.insert(id, submission),
            Err(error) => {
                self.stats.failed_total += 1;
                submission.refuse(&error.to_string());
            }
        }
    }

    /// Ends sequences that nobody reads any more, running or waiting.
    fn drop_abandoned(&mut self) {
        let abandoned = self.inbox.abandoned.load(Ordering::Acquire);
        if abandoned == self.abandoned_seen {
            return;
        }
        self.abandoned_seen = abandoned;
        let (scheduler, stats) = (&mut self.scheduler, &mut self.stats);
        self.live.retain(|id, sequence| {
            let left = sequence.left();
            if let Some(left) = left {
                scheduler.cancel(id);
                stats.count_left(left);
            }
            left.is_none()
        });
        self.publish();
    }

    /// Plans, computes, samples, books, delivers.
    fn step(&mut self) -> Result<(), ForwardError> {
        let began = self.clock.now();
        self.scheduler.plan(&mut self.plan);
        if self.plan.is_empty() {
            return Ok(());
        }
        self.live.note_started(&self.plan, began);
        // A step can be long: whoever looks meanwhile sees what runs in it.
        self.publish();
        if let Err(error) = self.compute() {
            self.fail_planned(&error);
            self.failed_steps += 1;
            let is_over = error.is_lost || self.failed_steps == FAILED_STEPS_MAX;
            return if is_over { Err(error) } else { Ok(()) };
        }
        self.failed_steps = 0;
        self.scheduler.advance(&self.plan, &self.sampled, &mut self.outcomes);
        self.count();
        self.publish();
        self.deliver();
        Ok(())
    }

    /// Leaves what became of each sample in `sampled`, and tokens with their live sequences.
    fn compute(&mut self) -> Result<(), ForwardError> {
        let planned = Planned { plan: &self.plan, scheduler: &self.scheduler };
        self.plan.set_best_only(sampling::takes_best_only(planned, &self.live));
        self.clock.book(Part::Rest, &mut self.stats);
        let forwarded = self.model.forward(&self.plan);
        self.clock.book(Part::Forward, &mut self.stats);
        let planned = Planned { plan: &self.plan, scheduler: &self.scheduler };
        let sampled = sampling::sample(planned, &mut self.live, forwarded?, &mut self.scratches);
        let taken = sampled.map(|sampled| self.take_sampled(sampled));
        self.clock.book(Part::Sample, &mut self.stats);
        taken
    }

    fn take_sampled(&mut self, sampled: Vec<Sampled>) {
        self.sampled.clear();
        for (sample, sampled) in self.plan.samples().iter().zip(sampled) {
            self.sampled.push(sampled.as_ref().and_then(|sampled| sampled.as_ref().ok().copied()));
            // A draft's row is computed again, as the first of the next step, which meets the same error.
            if let (Some(Err(error)), 0) = (sampled, sample.drafts) {
                self.scheduler.cancel(sample.sequence);
                self.failures.push((sample.sequence, error));
            }
        }
    }

    /// The blocks that the step was to write are not published, so nobody will find half-written ones.
    fn fail_planned(&mut self, error: &ForwardError) {
        tracing::error!("{error}");
        for planned in self.plan.sequences() {
            self.scheduler.cancel(planned.id);
        }
        self.stats.failed_total += self.plan.sequences().len() as u64;
        self.publish();
        let reason = error.to_string();
        self.plan.sequences().iter().for_each(|planned| self.live.fail(planned.id, &reason));
    }

    fn count(&mut self) {
        let stats = &mut self.stats;
        stats.generated_tokens_total += self.outcomes.len() as u64;
        for finish in self.outcomes.iter().filter_map(|outcome| outcome.finish) {
            match finish.reason {
                FinishReason::Stop(_) => stats.finished_stop_total += 1,
                FinishReason::Length => stats.finished_length_total += 1,
            }
        }
        stats.failed_total += self.failures.len() as u64;
        stats.steps_total += 1;
    }

    /// Events go out after the stats, so whoever saw an answer end sees its blocks free. The time that this takes is
    /// booked with the next stats.
    fn deliver(&mut self) {
        let now = self.clock.now();
        let mut gone = false;
        for outcome in &self.outcomes {
            if let Err(left) = self.live.deliver(outcome, now) {
                // A finished sequence is unknown to the scheduler and counted already.
                if self.scheduler.cancel(outcome.sequence) {
                    self.stats.count_left(left);
                    gone = true;
                }
            }
        }
        for (id, error) in self.failures.drain(..) {
            self.live.fail(id, &error.to_string());
        }
        if gone {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.clock.book(Part::Rest, &mut self.stats);
        self.stats.take(&self.scheduler.stats());
        self.inbox.board.publish(&self.stats);
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests;
