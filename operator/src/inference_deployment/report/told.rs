//! Which good news were told lately, so that those that come and go, as of a pod whose readiness flaps, do not make a
//! new Event each time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Less than a recorder counts what comes again for.
const LATELY: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct Told {
    hasher: RandomState,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// By the hash of uid and reason.
    news: HashMap<u64, Instant>,
    /// Old ones are looked for then.
    sweep_at: Option<Instant>,
}

impl Told {
    /// Whether an object was told of with this reason lately, but for now.
    pub(crate) fn note(&self, uid: &str, reason: &str) -> bool {
        let now = Instant::now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.sweep_at.is_none_or(|sweep_at| sweep_at <= now) {
            memory.news.retain(|_, told| now < *told + LATELY);
            memory.sweep_at = Some(now + LATELY);
        }
        let before = memory.news.insert(self.hasher.hash_one((uid, reason)), now);
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
        assert_eq!(told.memory.lock().unwrap().news.len(), 1);
    }
}
