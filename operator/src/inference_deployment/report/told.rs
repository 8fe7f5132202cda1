//! Which good news were told lately, so that those that come and go, as of a pod whose readiness flaps, do not make a
//! new Event each time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::memory::Memory;

/// Less than a recorder counts what comes again for.
const LATELY: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct Told {
    hasher: RandomState,
    /// By the hash of uid and reason.
    news: Memory<u64, Instant>,
}

impl Told {
    /// Whether an object was told of with this reason lately, but for now.
    pub(crate) fn note(&self, uid: &str, reason: &str) -> bool {
        let now = Instant::now();
        let mut news = self.news.lock();
        news.sweep(LATELY, |told| now < *told + LATELY);
        let before = news.all.insert(self.hasher.hash_one((uid, reason)), now);
        before.is_some_and(|told| now < told + LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn news_are_lately_for_five_minutes() {
        let told = Told::default();
        assert!(!told.note("a", "AllReady"));
        assert!(!told.note("a", "RollingOut") && !told.note("b", "AllReady"));
        tokio::time::advance(LATELY - Duration::from_secs(1)).await;
        assert!(told.note("a", "AllReady"));
        tokio::time::advance(LATELY).await;
        assert!(!told.note("b", "AllReady"));
        assert_eq!(told.news.lock().all.len(), 1);
    }
}
