//! How often an object's status is written: a status is whole, so that the latest is enough, and others who change it
//! each time, as a second operator or a policy of admission does, would have it written for ever as fast as it goes.

use std::time::Duration;

use tokio::time::Instant;

use crate::memory::Memory;

/// Of one object, when it is written without end.
const INTERVAL: Duration = Duration::from_secs(5);
/// Writes that may come at once: several times those of a rollout.
const BURST: u32 = 20;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// By uid: when all writes so far would have been made at one in each interval.
    paid: Memory<String, Instant>,
}

impl Pace {
    /// Counts a write, or says how long it has to wait.
    pub(crate) fn write(&self, uid: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let mut all = self.paid.lock();
        all.sweep(INTERVAL * BURST, |paid| now < *paid);
        let paid = all.all.get(uid).copied().unwrap_or(now).max(now) + INTERVAL;
        let wait = paid.duration_since(now + INTERVAL * BURST);
        if !wait.is_zero() {
            return Err(wait);
        }
        all.all.insert(uid.to_owned(), paid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_writes_come_at_once_and_then_one_in_each_interval() {
        let pace = Pace::default();
        for _ in 0..BURST {
            assert_eq!(pace.write("a"), Ok(()));
        }
        assert_eq!(pace.write("a"), Err(INTERVAL));
        assert_eq!(pace.write("b"), Ok(()), "another object");
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(pace.write("a"), Err(INTERVAL - second));
        tokio::time::advance(INTERVAL - second).await;
        assert_eq!(pace.write("a"), Ok(()));
        assert_eq!(pace.write("a"), Err(INTERVAL));

        // Nothing is kept of those that were left alone for long.
        tokio::time::advance(INTERVAL * BURST).await;
        assert_eq!(pace.write("b"), Ok(()));
        assert_eq!(pace.paid.lock().all.len(), 1);
    }
}
