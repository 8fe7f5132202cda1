//! Work that may never end, on threads of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// What a thread that drives connections has.
const STACK_BYTES: usize = 2 << 20;
/// Works of one size that took too long and still run; beyond, none of it is started.
const LATE_MAX: usize = 2;

/// Something to work with.
#[derive(Debug)]
pub(super) struct Watched<T> {
    of: Arc<T>,
    time_max: Duration,
    late: Arc<[AtomicUsize; 2]>,
}

/// Of a work. What is late keeps only its like from being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// It takes too long, or others do.
    Late,
    /// No thread could be started, or the work panicked.
    Broken,
}

impl<T: Send + Sync + 'static> Watched<T> {
    pub(super) fn new(of: T, time_max: Duration) -> Self {
        Self { of: Arc::new(of), time_max, late: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn set_time_max(&mut self, time_max: Duration) {
        self.time_max = time_max;
    }

    pub(super) fn run<R: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<R, Failure> {
        if self.late[size as usize].load(Ordering::Relaxed) >= LATE_MAX {
            return Err(Failure::Late);
        }
        let result = self.start(size, work).map_err(|error| {
            tracing::error!(%error, "no thread for a chat template");
            Failure::Broken
        })?;
        match result.recv_timeout(self.time_max) {
            Ok(Some(result)) => Ok(result),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => Err(Failure::Broken),
            Err(RecvTimeoutError::Timeout) => {
                // Before `result` is dropped, by which the thread knows that it is late.
                self.late[size as usize].fetch_add(1, Ordering::Relaxed);
                tracing::warn!(seconds = self.time_max.as_secs_f32(), "a chat template does not end");
                Err(Failure::Late)
            }
        }
    }

    /// The channel holds nothing: sending ends when the result is taken, or when nobody waits for it any more. `None`
    /// is a panic.
    fn start<R: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> io::Result<mpsc::Receiver<Option<R>>> {
        let (of, late, (done, result)) = (self.of.clone(), self.late.clone(), mpsc::sync_channel(0));
        let thread = std::thread::Builder::new().name("ostro-template".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let worked = catch_unwind(AssertUnwindSafe(|| work(&of)));
            if done.send(worked.ok()).is_err() {
                late[size as usize].fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn late_work_is_left_and_counts_until_it_ends() {
        let mut watched = Watched::new(1, Duration::from_secs(60));
        assert_eq!(watched.run(Size::Large, |x| x + 1), Ok(2));
        watched.set_time_max(Duration::from_millis(1));
        let ends: Vec<_> = (0..LATE_MAX)
            .map(|_| {
                let (end, ended) = mpsc::channel::<()>();
                assert_eq!(watched.run(Size::Large, move |_| ended.recv().is_ok()), Err(Failure::Late));
                end
            })
            .collect();
        watched.set_time_max(Duration::from_secs(60));
        assert_eq!(watched.run(Size::Large, |x| *x), Err(Failure::Late));
        assert_eq!(watched.run(Size::Small, |x| *x), Ok(1), "its like alone is not started");
        drop(ends);
        let start = Instant::now();
        while watched.run(Size::Large, |x| *x) != Ok(1) {
            assert!(start.elapsed() < Duration::from_secs(60), "late work has ended");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_is_no_lateness() {
        let watched = Watched::new((), Duration::from_secs(60));
        assert_eq!(watched.run(Size::Small, |()| -> () { panic!("odd") }), Err(Failure::Broken));
    }
}
