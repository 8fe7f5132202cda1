//! How long an object waits after its reconciles failed in a row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// By the object's uid.
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Doubles with every failure; up to a quarter more, so that objects do not all come at once.
    pub(crate) fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        let wait = SHORTEST.saturating_mul(1 << (*count).min(10)).min(LONGEST);
        *count += 1;
        wait + wait.mul_f64(f64::from(spread(uid)) / 1024.0)
    }

    pub(crate) fn succeeded(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// 0 to 255, the same for the same text.
pub(crate) fn spread(text: &str) -> u8 {
    text.bytes().fold(17u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_anew_after_success() {
        let backoff = Backoff::default();
        let first = backoff.failed("a");
        let waits: Vec<Duration> = (0..12).map(|_| backoff.failed("a")).collect();
        assert!(waits.is_sorted() && first < waits[0]);
        assert!(*waits.last().unwrap() <= LONGEST + LONGEST / 4);
        assert!(backoff.failed("b") < SHORTEST * 2);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a"), first);
    }
}
