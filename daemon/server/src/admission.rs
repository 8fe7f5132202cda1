//! Decides over a request before any costly work: is there room for it?
//!
//! Two bounds: requests being templated and tokenised here, and sequences waiting in the engine, whose room is looked at
//! before that; the hard one is its own, when they are submitted (`EngineOptions::schedule.waiting_max`). Pure counting: no
//! clock, no queue of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::error::ApiError;

const RETRY_SECONDS_MAX: u64 = 60;

#[derive(Clone, Debug)]
pub struct Admission {
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    preparing: AtomicUsize,
    preparing_max: usize,
    phase: watch::Sender<Phase>,
}

/// Of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Connections that are open may bring a last request.
    Leaving,
    Closed,
}

/// A place among the requests being prepared; given up when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
}

/// What an engine has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub running: u64,
    pub waiting: u64,
}

impl Admission {
    pub fn new(preparing_max: usize) -> Admission {
        let gate =
            Gate { preparing: AtomicUsize::new(0), preparing_max, phase: watch::Sender::new(Phase::Open) };
        Admission { gate: Arc::new(gate) }
    }

    /// # Errors
    /// Too many requests are being prepared, or the server has shut down.
    pub fn try_enter(&self, load: Load) -> Result<Permit, ApiError> {
        if *self.gate.phase.borrow() == Phase::Closed {
            return Err(ApiError::ShuttingDown);
        }
        // The permit is made first, so that a refusal gives the place back by dropping it.
        let permit = Permit { gate: self.gate.clone() };
        if self.gate.preparing.fetch_add(1, Ordering::AcqRel) >= self.gate.preparing_max {
            return Err(busy(load));
        }
        Ok(permit)
    }

    /// The server shuts down: who is connected may bring a last request.
    pub fn leave(&self) {
        self.gate.phase.send_replace(Phase::Leaving);
    }

    /// Refuses all further requests.
    pub fn close(&self) {
        self.gate.phase.send_replace(Phase::Closed);
    }

    pub fn is_leaving(&self) -> bool {
        *self.gate.phase.borrow() >= Phase::Leaving
    }

    /// What a request is told of an error: once no further ones are let in, engines fail because they were stopped.
    pub fn explain(&self, error: ApiError) -> ApiError {
        match error {
            ApiError::Engine(_) if *self.gate.phase.borrow() == Phase::Closed => ApiError::ShuttingDown,
            error => error,
        }
    }

    /// Ready once no further requests are let in, and answers that still run are cancelled.
    pub fn closed(&self) -> BoxFuture<'static, ()> {
        let mut phase = self.gate.phase.subscribe();
        // Its sender goes with the last of those who could ask.
        async move { drop(phase.wait_for(|phase| *phase == Phase::Closed).await) }.boxed()
    }

    /// Ready once the server shuts down.
    pub async fn leaving(&self) {
        // The sender lives in `self`.
        let _ = self.gate.phase.subscribe().wait_for(|phase| *phase >= Phase::Leaving).await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.preparing.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The refusal of a full queue. A client is told to come back when about half of those before it have left,
/// at some two sequences a second for each that runs.
pub fn busy(load: Load) -> ApiError {
    let seconds = load.waiting / (4 * load.running.max(1));
    ApiError::Busy { retry_after: Duration::from_secs(seconds.clamp(1, RETRY_SECONDS_MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let admission = Admission::new(2);
        let enter = || admission.try_enter(Load::default());
        let first = enter().unwrap();
        let _second = enter().unwrap();
        for _ in 0..3 {
            assert_eq!(enter().unwrap_err(), ApiError::Busy { retry_after: Duration::from_secs(1) });
        }
        drop(first);
        assert!(enter().is_ok());
    }

    #[test]
    fn a_closed_gate_refuses() {
        let admission = Admission::new(2);
        admission.leave();
        assert!(admission.try_enter(Load::default()).is_ok());
        let failure = ApiError::Engine("it was stopped".into());
        assert_eq!(admission.explain(failure.clone()), failure);
        admission.close();
        assert_eq!(admission.try_enter(Load::default()).unwrap_err(), ApiError::ShuttingDown);
        assert_eq!(admission.explain(failure), ApiError::ShuttingDown);
    }

    #[test]
    fn the_wait_grows_with_the_queue_and_is_bounded() {
        let seconds = |running, waiting| match busy(Load { running, waiting }) {
            ApiError::Busy { retry_after } => retry_after.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((seconds(32, 10), seconds(32, 1024), seconds(1, 1 << 20)), (1, 8, 60));
    }
}
