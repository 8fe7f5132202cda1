//! Whether this process has stood still: a node that hangs, a process that was stopped. Others have stopped waiting for it
//! then, and may need what it was about to remove.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::WeightsError;

const EVERY: Duration = Duration::from_secs(1);
/// Half of what the operator waits for a Job that it told to end.
const STILL_MAX: Duration = Duration::from_secs(30);

/// A thread that beats beside the one that removes.
#[derive(Debug)]
pub struct Pulse(Arc<Mutex<Beats>>);

#[derive(Debug)]
struct Beats {
    last: Instant,
    stood_still: Option<Duration>,
}

impl Pulse {
    pub fn start() -> Pulse {
        let pulse = Pulse(Arc::new(Mutex::new(Beats { last: Instant::now(), stood_still: None })));
        let beating = Arc::downgrade(&pulse.0);
        thread::spawn(move || {
            while let Some(pulse) = beating.upgrade().map(Pulse) {
                pulse.beat(Instant::now());
                drop(pulse);
                thread::sleep(EVERY);
            }
        });
        pulse
    }

    /// # Errors
    /// It has stood still, now or before.
    pub(super) fn check(&self) -> Result<(), WeightsError> {
        self.beat(Instant::now()).map_or(Ok(()), |still| Err(WeightsError::StoodStill(still)))
    }

    /// How long it has stood still, if it has: whichever thread notices first.
    fn beat(&self, now: Instant) -> Option<Duration> {
        let mut beats = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let still = now.saturating_duration_since(beats.last);
        if still > STILL_MAX {
            beats.stood_still.get_or_insert(still);
        }
        beats.last = beats.last.max(now);
        beats.stood_still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stood_still_once_goes_on_with_nothing() {
        let start = Instant::now();
        let pulse = Pulse(Arc::new(Mutex::new(Beats { last: start, stood_still: None })));
        let at = |seconds| pulse.beat(start + Duration::from_secs(seconds));
        assert_eq!([at(1), at(31), at(60), at(59)], [None; 4]);
        assert_eq!(at(91), Some(Duration::from_secs(31)));
        assert_eq!(at(92), Some(Duration::from_secs(31)));
        assert!(matches!(pulse.check(), Err(WeightsError::StoodStill(_))));
    }

    #[test]
    fn a_process_that_runs_may_go_on() {
        Pulse::start().check().unwrap();
    }
}
