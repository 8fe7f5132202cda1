//! The requests of one connection: how many run, and for how long none has, by which a connection ends.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::Version;
use tokio::sync::watch;
use tokio::time::Instant;

/// Of a connection that is told to end, for the rest of a first request's head.
const LATE_HEAD_TIME: Duration = Duration::from_secs(1);
/// Of one that speaks HTTP/2, which says that it goes, and hears that this was heard.
const LATE_HTTP2_TIME: Duration = Duration::from_secs(3);

/// The running requests of a connection.
#[derive(Clone)]
pub(super) struct Activity(Arc<watch::Sender<Requests>>);

#[derive(Clone, Copy)]
pub(super) struct Requests {
    running: usize,
    /// When the last one began or ended.
    changed: Instant,
    /// Of the last one.
    version: Option<Version>,
    /// Its place is for another connection.
    given_up: bool,
}

impl Activity {
    pub(super) fn new() -> Activity {
        let requests = Requests { running: 0, changed: Instant::now(), version: None, given_up: false };
        Activity(Arc::new(watch::Sender::new(requests)))
    }

    pub(super) fn begin(&self, version: Version) -> Running {
        self.0.send_modify(|requests| {
            requests.count(1);
            requests.version = Some(version);
        });
        Running(self.clone())
    }

    /// Time without a request counts from now.
    pub(super) fn touch(&self) {
        self.0.send_modify(|requests| requests.changed = Instant::now());
    }

    pub(super) fn is_http2(&self) -> bool {
        self.0.borrow().is_http2()
    }

    /// When its last request ended, where it is to go on.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let requests = self.0.borrow();
        (requests.running == 0 && !requests.given_up).then_some(requests.changed)
    }

    /// Ends the connection, after a request that came meanwhile.
    pub(super) fn give_up(&self) {
        self.0.send_modify(|requests| requests.given_up = true);
    }

    pub(super) fn downgrade(&self) -> WeakActivity {
        WeakActivity(Arc::downgrade(&self.0))
    }

    /// Ready once its place is needed.
    pub(super) async fn given_up(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|requests| requests.given_up).await;
    }

    /// Ready once a request shows that the connection speaks HTTP/2.
    pub(super) async fn http2(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(Requests::is_http2).await;
    }

    /// Ready when no request ran for as long as `timeout` says.
    pub(super) async fn idle(&self, timeout: impl Fn(&Requests) -> Duration) {
        loop {
            let requests = *self.0.borrow();
            let since = if requests.running > 0 { Instant::now() } else { requests.changed };
            let until = since + timeout(&requests);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Requests {
    fn count(&mut self, change: isize) {
        self.running = self.running.saturating_add_signed(change);
        self.changed = Instant::now();
    }

    fn is_http2(&self) -> bool {
        self.version == Some(Version::HTTP_2)
    }

    /// How long a connection that is told to end may take when no request runs.
    pub(super) fn late(&self, idle: Duration) -> Duration {
        match self.version {
            None if self.given_up => Duration::ZERO,
            None => LATE_HEAD_TIME,
            Some(Version::HTTP_2) => LATE_HTTP2_TIME,
            // It reads nothing any more, and ends by itself once all is written.
            Some(_) => idle,
        }
    }
}

/// Of a connection that may have ended.
pub(super) struct WeakActivity(Weak<watch::Sender<Requests>>);

impl WeakActivity {
    pub(super) fn upgrade(&self) -> Option<Activity> {
        self.0.upgrade().map(Activity)
    }
}

/// A request until its answer has left or was given up.
pub(super) struct Running(pub(super) Activity);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.count(-1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn running_requests_keep_a_connection() {
        let activity = Activity::new();
        let timeout = Duration::from_secs(60);
        let began = Instant::now();
        let running = activity.begin(Version::HTTP_11);
        let ends = async {
            tokio::time::sleep(Duration::from_secs(200)).await;
            drop(running);
        };
        tokio::join!(activity.idle(|_| timeout), ends);
        assert_eq!(began.elapsed().as_secs(), 260);
    }
}
