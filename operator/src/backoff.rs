//! How long an object waits after its reconciles failed in a row.

use std::time::Duration;

use tokio::time::Instant;

use crate::memory::Memory;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(120);
/// An object that is there comes again long before, also where reconciles are late.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// By the object's uid.
    failures: Memory<String, Failures>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Backoff {
    /// Doubles with every failure, those before their time aside; up to a quarter more, so that objects do not all come at
    /// once.
    pub(crate) fn failed(&self, uid: &str) -> Duration {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        failures.sweep(FORGOTTEN_AFTER, |failures| now < failures.until + FORGOTTEN_AFTER);
        let failures = failures.all.entry(uid.to_owned()).or_insert(Failures { count: 0, until: now });
        if now < failures.until {
            return failures.until - now;
        }
        let wait = SHORTEST.saturating_mul(1 << failures.count.min(10)).min(LONGEST);
        let wait = wait + wait.mul_f64(f64::from(spread(uid)) / 1024.0);
        (failures.count, failures.until) = (failures.count + 1, now + wait);
        wait
    }

    /// Whether an object is looked at before its time, for a change of it or of its children.
    pub(crate) fn is_early(&self, uid: &str) -> bool {
        self.failures.lock().all.get(uid).is_some_and(|failures| Instant::now() < failures.until)
    }

    pub(crate) fn succeeded(&self, uid: &str) {
        self.failures.lock().all.remove(uid);
    }
}

/// 0 to 255, the same for the same text.
pub(crate) fn spread(text: &str) -> u8 {
    text.bytes().fold(17u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_limit_and_start_anew_after_success() {
        let backoff = Backoff::default();
        let first = backoff.failed("a");
        let mut waits = vec![first];
        for _ in 0..12 {
            tokio::time::sleep(*waits.last().unwrap()).await;
            waits.push(backoff.failed("a"));
        }
        assert!(waits.is_sorted() && first < waits[1]);
        assert!(*waits.last().unwrap() <= LONGEST + LONGEST / 4);
        assert!(backoff.failed("b") < SHORTEST * 2);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a"), first);
    }

    #[tokio::test(start_paused = true)]
    async fn deleted_objects_are_forgotten() {
        let backoff = Backoff::default();
        backoff.failed("a");
        let mut waits = Vec::new();
        for _ in 0..100 {
            waits.push(backoff.failed("b"));
            tokio::time::sleep(*waits.last().unwrap()).await;
        }
        assert!(waits.is_sorted(), "{waits:?}");
        assert_eq!(backoff.failures.lock().all.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_wait_is_over_is_early() {
        let backoff = Backoff::default();
        assert!(!backoff.is_early("a"));
        let wait = backoff.failed("a");
        assert!(backoff.is_early("a") && !backoff.is_early("b"));
        tokio::time::sleep(wait / 2).await;
        assert!(backoff.failed("a") < wait);
        tokio::time::sleep(wait).await;
        assert!(!backoff.is_early("a"));
    }
}
