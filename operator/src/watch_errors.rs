//! Errors of watches: each waits for itself, and holds up no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::in_words::in_words;

const SHORTEST: Duration = Duration::from_millis(800);
/// What comes back, as an API server or a right, is found so soon.
const LONGEST: Duration = Duration::from_secs(10);
/// After so long without an error it begins with the shortest again.
const CALM: Duration = Duration::from_secs(60);

/// Doubles with every error. kube's own begins anew with all that comes, and a list that is refused begins with an event.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    last: Option<(Instant, Duration)>,
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let last = self.last.filter(|(at, wait)| now < *at + *wait + CALM);
        let wait = last.map_or(SHORTEST, |(_, wait)| (wait * 2).min(LONGEST));
        self.last = Some((now, wait));
        Some(wait)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {}
}

/// Further errors of a watch that fails all the time come within this time: a connection may take 30 s to fail.
const NEXT: Duration = Duration::from_secs(60);

/// Since when a watch fails all the time. What succeeds shows in nothing, where nothing changes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failing(Arc<Mutex<Option<(Instant, Instant)>>>);

impl Failing {
    pub(crate) fn note(&self) {
        let now = Instant::now();
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = errors.filter(|(_, last)| now < *last + NEXT).map_or(now, |(first, _)| first);
        *errors = Some((first, now));
    }

    pub(crate) fn is_for(&self, least: Duration) -> bool {
        let errors = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.is_some_and(|(first, last)| last.elapsed() < NEXT && last - first >= least)
    }
}

/// Errors are told and end here: in the controller one holds back the changes of all kinds, the longer the more there are.
pub(crate) fn only_changes<K: Send + 'static>(
    changes: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    let changes =
        changes.inspect_err(|error| tracing::warn!("a watch failed; it is tried again: {}", in_words(error)));
    changes.filter(|change| std::future::ready(change.is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_until_there_was_calm() {
        let mut patience = Patience::default();
        for expected in [800, 1600, 3200, 6400, 10_000, 10_000] {
            let wait = patience.next().unwrap();
            assert_eq!(wait.as_millis(), expected);
            tokio::time::sleep(wait).await;
            patience.reset();
        }
        tokio::time::sleep(CALM).await;
        assert_eq!(patience.next(), Some(SHORTEST));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_that_go_on_count_as_one() {
        let failing = Failing::default();
        let minute = Duration::from_secs(60);
        for expected in [false, false, false, false, false, false, true, true] {
            failing.note();
            assert_eq!(failing.is_for(minute), expected);
            tokio::time::sleep(LONGEST).await;
        }
        tokio::time::sleep(NEXT).await;
        assert!(!failing.is_for(minute));
        failing.note();
        assert!(!failing.is_for(minute));
        // What went by is no failing, though nothing tells that it went by.
        tokio::time::sleep(NEXT).await;
        for _ in 0..2 {
            failing.note();
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(!failing.is_for(Duration::from_secs(30)));
    }

    #[tokio::test]
    async fn an_error_holds_up_nothing() {
        let events =
            [Err(watcher::Error::NoResourceVersion), Ok(1), Err(watcher::Error::NoResourceVersion), Ok(2)];
        let changes = only_changes(futures::stream::iter(events));
        assert_eq!(changes.map(|change| change.unwrap()).collect::<Vec<_>>().await, [1, 2]);
    }
}
