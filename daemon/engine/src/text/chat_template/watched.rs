//! Work that may never end, on threads of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// What a thread that drives connections has.
const STACK_BYTES: usize = 2 << 20;
/// Works that took too long and still run; beyond, none is started.
const LATE_MAX: usize = 2;

/// Something to work with.
#[derive(Debug)]
pub(super) struct Watched<T> {
    of: Arc<T>,
    time_max: Duration,
    late: Arc<AtomicUsize>,
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

    pub(super) fn get(&self) -> &T {
        &self.of
    }

    pub(super) fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<R, Failure> {
        if self.late.load(Ordering::Relaxed) >= LATE_MAX {
            return Err(Failure::Late);
        }
        let result = self.start(work).map_err(|error| {
            tracing::error!(%error, "no thread for a chat template");
            Failure::Broken
        })?;
        match result.recv_timeout(self.time_max) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::Broken),
            Err(RecvTimeoutError::Timeout) => {
                self.count_until_done(result);
                tracing::warn!(seconds = self.time_max.as_secs_f32(), "a chat template does not end");
                Err(Failure::Late)
            }
        }
    }

    fn start<R: Send + 'static>(
        &self,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> io::Result<mpsc::Receiver<R>> {
        let (of, (done, result)) = (self.of.clone(), mpsc::sync_channel(1));
        let thread = std::thread::Builder::new().name("ostro-template".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            // Nobody waits for it any more when it is late.
            let _ = done.send(work(&of));
        })?;
        Ok(result)
    }

    fn count_until_done<R: Send + 'static>(&self, result: mpsc::Receiver<R>) {
        let late = self.late.clone();
        late.fetch_add(1, Ordering::Relaxed);
        let counted = std::thread::Builder::new().spawn(move || {
            let _ = result.recv();
            late.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = counted {
            tracing::error!(%error, "a chat template stays counted as running");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn late_work_is_left_and_counts_until_it_ends() {
        let mut watched = Watched::new(1, Duration::from_secs(60));
        assert_eq!(watched.run(|x| x + 1), Ok(2));
        watched.set_time_max(Duration::from_millis(1));
        let ends: Vec<_> = (0..LATE_MAX)
            .map(|_| {
                let (end, ended) = mpsc::channel::<()>();
                assert_eq!(watched.run(move |_| ended.recv().is_ok()), Err(Failure::Late));
                end
            })
            .collect();
        watched.set_time_max(Duration::from_secs(60));
        assert_eq!(watched.run(|x| *x), Err(Failure::Late));
        drop(ends);
        let start = Instant::now();
        while watched.run(|x| *x) != Ok(1) {
            assert!(start.elapsed() < Duration::from_secs(60), "late work has ended");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_is_no_lateness() {
        let watched = Watched::new((), Duration::from_secs(60));
        assert_eq!(watched.run(|()| -> () { panic!("odd") }), Err(Failure::Broken));
    }
}
