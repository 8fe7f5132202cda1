//! Gauges and totals of one engine: copied out by its thread when a step starts and after it, read by anyone at any time.
//!
//! The copy is made under a lock held for some 50 ns, so a reader sees all of one moment. While a step computes, gauges and
//! what planning counts (prefix lookups and hits, preemptions) are those of the step under way, tokens and ends those of
//! whole steps.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::schedule::SchedulerStats;
use crate::stream::Left;

/// A picture of the engine. Totals count from its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EngineStats {
    pub health: EngineHealth,
    pub sequences_running: u64,
    pub sequences_waiting: u64,
    pub blocks: u64,
    /// Held by running sequences.
    pub blocks_used: u64,
    /// Free, with content that a prefix hit can use.
    pub blocks_cached: u64,
    pub generated_tokens_total: u64,
    /// Prompt tokens looked up in the prefix cache, and those found.
    pub prefix_queries_total: u64,
    pub prefix_hits_total: u64,
    /// Draft tokens computed, and those of them that were right.
    pub draft_tokens_total: u64,
    pub accepted_tokens_total: u64,
    pub preemptions_total: u64,
    pub steps_total: u64,
    /// All of the engine's thread but its waits for work: from taking what was submitted to delivering what was sampled.
    /// What a delivery takes is counted with the next step, or before the next wait.
    pub step_seconds_total: f64,
    /// Of it in the model, also where that failed.
    pub forward_seconds_total: f64,
    /// Of it in sampling. The rest is taking what was submitted, scheduling and delivery.
    pub sample_seconds_total: f64,
    /// By a stop token, or by a reader that had all it wanted.
    pub finished_stop_total: u64,
    pub finished_length_total: u64,
    /// The reader went away.
    pub cancelled_total: u64,
    pub failed_total: u64,
}

impl EngineStats {
    pub(crate) fn count_left(&mut self, left: Left) {
        match left {
            Left::Stopped => self.finished_stop_total += 1,
            Left::Cancelled => self.cancelled_total += 1,
        }
    }

    /// What the scheduler knows.
    pub(crate) fn take(&mut self, schedule: &SchedulerStats) {
        self.sequences_running = schedule.running as u64;
        self.sequences_waiting = schedule.waiting as u64;
        self.blocks = schedule.blocks.into();
        self.blocks_used = schedule.blocks_used.into();
        self.blocks_cached = schedule.blocks_cached.into();
        self.preemptions_total = schedule.preemptions_total;
        self.prefix_queries_total = schedule.prompt_tokens_total;
        self.prefix_hits_total = schedule.cached_tokens_total;
        self.draft_tokens_total = schedule.draft_tokens_total;
        self.accepted_tokens_total = schedule.accepted_tokens_total;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineHealth {
    #[default]
    Running,
    /// It was told to stop.
    Stopped,
    /// It accepts nothing, and will do so no more but where a step that stood still ends after all; the text says why.
    Failed(String),
}

/// Where the engine's thread leaves its stats for others.
#[derive(Debug)]
pub(crate) struct StatsBoard {
    posted: Mutex<Posted>,
    /// A step that takes longer stands still.
    step_limit: Duration,
}

#[derive(Debug, Default)]
struct Posted {
    stats: EngineStats,
    /// When the thread was last heard of; nothing while it waits for work.
    heard: Option<Instant>,
}

impl StatsBoard {
    pub(crate) fn new(step_limit: Duration) -> Self {
        StatsBoard { posted: Mutex::default(), step_limit }
    }

    /// Called by the engine's thread only; keeps the health.
    pub(crate) fn publish(&self, stats: &EngineStats) {
        let mut posted = self.lock();
        let health = std::mem::take(&mut posted.stats.health);
        *posted = Posted { stats: EngineStats { health, ..stats.clone() }, heard: Some(Instant::now()) };
    }

    /// The thread waits for work, for however long.
    pub(crate) fn rest(&self) {
        self.lock().heard = None;
    }

    pub(crate) fn set_health(&self, health: EngineHealth) {
        self.lock().stats.health = health;
    }

    pub(crate) fn health(&self) -> EngineHealth {
        self.health_of(&self.lock())
    }

    pub(crate) fn read(&self) -> EngineStats {
        let posted = self.lock();
        EngineStats { health: self.health_of(&posted), ..posted.stats.clone() }
    }

    /// Failed too while a step stands still: its thread cannot say so.
    fn health_of(&self, posted: &Posted) -> EngineHealth {
        let silence = posted.heard.map(|heard| heard.elapsed());
        match (&posted.stats.health, silence) {
            (EngineHealth::Running, Some(silence)) if silence > self.step_limit => {
                EngineHealth::Failed(format!("a step has not ended for {} s", silence.as_secs()))
            }
            (health, _) => health.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
