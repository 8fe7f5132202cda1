//! Whether the process can do its work, and why not, for `/readyz`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Reading thousands of objects takes seconds; what a right is lacking for takes for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const HINT: &str = "is the API there, and does the operator have the right? See its log";

/// What is watched and was not read yet, or cannot be watched any more, by the names that rules have.
type Unread = Box<dyn Fn() -> Vec<Cow<'static, str>> + Send>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Started,
    /// A standby is ready too.
    Connected,
    /// It cannot know whether it may lead.
    Leaseless {
        since: Instant,
    },
    Leading {
        since: Instant,
        unread: Unread,
    },
}

impl Readiness {
    /// The API server was reached.
    pub(crate) fn connected(&self) {
        *self.state() = State::Connected;
    }

    /// The lease could be read, and written if that was due, or not.
    pub(crate) fn lease(&self, works: bool) {
        let mut state = self.state();
        match (works, &*state) {
            (true, _) => *state = State::Connected,
            (false, State::Leaseless { .. }) => {}
            (false, _) => *state = State::Leaseless { since: Instant::now() },
        }
    }

    /// Nothing is reconciled until all is read.
    pub(crate) fn leading(&self, unread: Unread) {
        *self.state() = State::Leading { since: Instant::now(), unread };
    }

    pub(crate) fn lack(&self) -> Option<String> {
        match &*self.state() {
            State::Started => Some("the API server was not reached yet".to_owned()),
            State::Leading { since, unread } if since.elapsed() >= PATIENCE => {
                let unread = unread();
                (!unread.is_empty()).then(|| format!("cannot list or watch {}: {HINT}", unread.join(", ")))
            }
            State::Leaseless { since } if since.elapsed() >= PATIENCE => {
                Some(format!("cannot take the lease: {HINT}"))
            }
            State::Connected | State::Leaseless { .. } | State::Leading { .. } => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_cannot_take_the_lease_is_not_ready_after_a_while() {
        let readiness = Readiness::default();
        readiness.lease(false);
        tokio::time::advance(PATIENCE / 2).await;
        readiness.lease(false);
        assert_eq!(readiness.lack(), None);
        tokio::time::advance(PATIENCE / 2).await;
        assert!(readiness.lack().unwrap().starts_with("cannot take the lease: is"));
        readiness.lease(true);
        assert_eq!(readiness.lack(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_read_all_is_not_ready_after_a_while() {
        let readiness = Readiness::default();
        assert_eq!(readiness.lack().unwrap(), "the API server was not reached yet");
        readiness.connected();
        assert_eq!(readiness.lack(), None);
        for (unread, late) in
            [(vec![], None), (vec!["pods", "jobs"], Some("cannot list or watch pods, jobs: is"))]
        {
            let unread: Vec<Cow<'_, str>> = unread.into_iter().map(Cow::from).collect();
            readiness.leading(Box::new(move || unread.clone()));
            assert_eq!(readiness.lack(), None);
            tokio::time::advance(PATIENCE).await;
            let lack = readiness.lack();
            assert_eq!(lack.as_ref().map(|lack| lack.starts_with(late.unwrap())), late.map(|_| true));
        }
    }
}
