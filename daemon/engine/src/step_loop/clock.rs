//! Where the time of the engine's thread goes: the model, sampling, all else that it does. Its waits for work are none
//! of it.

use std::time::Instant;

use crate::stats::EngineStats;

/// What the time since the last booking was spent on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Forward,
    Sample,
    /// Taking commands, scheduling, delivering.
    Rest,
}

pub(super) struct StepClock {
    read: Box<dyn Fn() -> Instant>,
    /// What lies before is booked, or was a wait.
    since: Instant,
}

impl StepClock {
    pub(super) fn new(read: impl Fn() -> Instant + 'static) -> Self {
        StepClock { since: read(), read: Box::new(read) }
    }

    pub(super) fn now(&self) -> Instant {
        (self.read)()
    }

    /// Leaves out what has passed since the last booking.
    pub(super) fn skip(&mut self) {
        self.since = self.now();
    }

    /// Adds what has passed since the last booking to the time of steps, and to that of its part. Every moment is booked
    /// once, so the parts never come to more than the whole.
    pub(super) fn book(&mut self, part: Part, stats: &mut EngineStats) {
        let now = self.now();
        let seconds = (now - self.since).as_secs_f64();
        self.since = now;
        stats.step_seconds_total += seconds;
        match part {
            Part::Forward => stats.forward_seconds_total += seconds,
            Part::Sample => stats.sample_seconds_total += seconds,
            Part::Rest => {}
        }
    }
}
