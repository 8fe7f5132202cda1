//! The measurement, stage by stage, each on what the one before has left.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::api::Api;
use super::latency::{self, Latencies};
use super::objects;
use super::observer::Observer;
use super::process::{Operator, Reading};
use crate::cluster::Simulated;
use crate::writes::Writes;

pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Nothing more comes when nothing came for this long.
const QUIET: Duration = Duration::from_secs(5);
/// Of an object; the controllers of a small machine take most of it.
const READY_LIMIT_EACH: Duration = Duration::from_millis(500);
/// For any number of objects.
const READY_LIMIT: Duration = Duration::from_secs(120);

pub(super) struct Bench<'a> {
    pub(super) cluster: &'a Simulated,
    pub(super) api: &'a Api,
    pub(super) program: &'a Path,
    pub(super) objects: usize,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) objects: usize,
    /// Until all but one, which was Ready before, were made, and Ready.
    pub(super) created: Duration,
    pub(super) ready: Duration,
    /// Without objects.
    pub(super) empty: Reading,
    /// Once one is Ready and nothing more happens.
    pub(super) one: Reading,
    /// Once all are Ready and nothing more happens.
    pub(super) full: Reading,
    pub(super) making: Writes,
    pub(super) idle: Writes,
    pub(super) idle_reconciles: f64,
    pub(super) latencies: Latencies,
    /// Of a new process that found all as it should be.
    pub(super) restarted: Reading,
    pub(super) restart: Writes,
}

impl Bench<'_> {
    pub(super) fn measure(&self) -> Result<Measured> {
        let mut observer = Observer::start(self.api)?;
        let mut measured = Measured { objects: self.objects, ..Measured::default() };
        let operator = Operator::start(self.cluster, self.program, "first")?;
        measured.empty = operator.settle(0.0, QUIET)?;
        self.make(&operator, &mut observer, &mut measured)?;
        self.idle(&operator, &mut measured)?;
        eprintln!("changing objects, one every {:?}", latency::EVERY);
        let changes = latency::CHANGES.min(self.objects);
        measured.latencies = latency::measure(self.api, &mut observer, changes, 9)?;
        observer.await_ready(self.objects, READY_LIMIT)?;
        operator.settle(0.0, QUIET)?;
        operator.stop()?;
        self.restart(&mut measured)?;
        Ok(measured)
    }

    fn make(&self, operator: &Operator, observer: &mut Observer, measured: &mut Measured) -> Result<()> {
        eprintln!("making {} objects", self.objects);
        objects::create_namespaces(self.api)?;
        let before = self.writes()?;
        objects::create(self.api, 0..1, 8)?;
        observer.await_ready(1, READY_LIMIT)?;
        measured.one = operator.settle(0.0, QUIET)?;
        let start = Instant::now();
        objects::create(self.api, 1..self.objects, 8)?;
        measured.created = start.elapsed();
        let limit = READY_LIMIT + READY_LIMIT_EACH * u32::try_from(self.objects)?;
        observer.await_ready(self.objects, limit)?;
        measured.ready = start.elapsed();
        measured.full = operator.settle(0.0, QUIET)?;
        measured.making = self.writes()?.since(&before);
        Ok(())
    }

    fn idle(&self, operator: &Operator, measured: &mut Measured) -> Result<()> {
        eprintln!("waiting {IDLE:?} without a change");
        let (before, reconciles) = (self.writes()?, operator.read()?.reconciles);
        std::thread::sleep(IDLE);
        measured.idle = self.writes()?.since(&before);
        measured.idle_reconciles = operator.read()?.reconciles - reconciles;
        Ok(())
    }

    fn restart(&self, measured: &mut Measured) -> Result<()> {
        eprintln!("starting the operator anew");
        let before = self.writes()?;
        let operator = Operator::start(self.cluster, self.program, "second")?;
        measured.restarted = operator.settle(self.objects as f64, QUIET)?;
        measured.restart = self.writes()?.since(&before);
        operator.stop()
    }

    fn writes(&self) -> Result<Writes> {
        Ok(Writes::parse(&self.api.text("/metrics")?))
    }
}
