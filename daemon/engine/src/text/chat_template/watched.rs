//! Work that may never end, on threads of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Something to work with, until a work takes too long.
#[derive(Debug)]
pub(super) struct Watched<T> {
    of: Arc<T>,
    time_max: Duration,
    is_stuck: AtomicBool,
}

impl<T: Send + Sync + 'static> Watched<T> {
    pub(super) fn new(of: T, time_max: Duration) -> Self {
        Self { of: Arc::new(of), time_max, is_stuck: AtomicBool::new(false) }
    }

    pub(super) fn get(&self) -> &T {
        &self.of
    }

    /// Some work took too long: its thread may still run, and no other is started.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// The result of `work`; none if it takes too long, or another has.
    pub(super) fn run<R: Send + 'static>(&self, work: impl FnOnce(&T) -> R + Send + 'static) -> Option<R> {
        if self.is_stuck() {
            return None;
        }
        let (of, (done, result)) = (self.of.clone(), mpsc::sync_channel(1));
        std::thread::spawn(move || done.send(work(&of)));
        let result = result.recv_timeout(self.time_max);
        if matches!(result, Err(mpsc::RecvTimeoutError::Timeout)) {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        result.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_takes_too_long_is_left_and_no_other_is_started() {
        let watched = Watched::new(1, Duration::from_millis(10));
        assert_eq!(watched.run(|x| x + 1), Some(2));
        let (end, ended) = mpsc::channel::<()>();
        assert_eq!(watched.run(move |_| ended.recv().is_ok()), None);
        assert!(watched.is_stuck());
        assert_eq!(watched.run(|x| *x), None);
        drop(end);
    }
}
