//! Work that computes, away from the threads that drive connections.
//!
//! A client that leaves does not end it, so each kind has places of its own: what was left behind keeps only its like
//! waiting.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::ApiError;

/// About a millisecond of tokenising, or less of reading.
const INLINE_BYTES_MAX: usize = 4096;
/// Some tens of milliseconds of tokenising.
const SHORT_BYTES_MAX: usize = 64 << 10;
/// About a millisecond of reading JSON.
const INLINE_BODY_BYTES_MAX: usize = 64 << 10;

/// Works of one kind that run at once: bounds their memory too, which is a multiple of their bytes.
static SHORT_PROMPTS: Semaphore = Semaphore::const_new(4);
static LONG_PROMPTS: Semaphore = Semaphore::const_new(2);
static SHORT_TEXTS: Semaphore = Semaphore::const_new(2);
static LONG_TEXTS: Semaphore = Semaphore::const_new(1);
static BODIES: Semaphore = Semaphore::const_new(2);

/// Texts that wait or are worked on; more are refused, since whoever waits keeps a place among all requests.
static TEXTS: Semaphore = Semaphore::const_new(16);

const BUSY: ApiError = ApiError::Busy { retry_after: Duration::from_secs(1) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Reading a request's body.
    Body,
    /// Templating and tokenising what is to be answered.
    Prompt,
    /// Tokenising for its own sake.
    Text,
}

impl Work {
    fn places(self, bytes: usize) -> Option<&'static Semaphore> {
        match self {
            Work::Body if bytes > INLINE_BODY_BYTES_MAX => Some(&BODIES),
            Work::Prompt | Work::Text if bytes <= INLINE_BYTES_MAX => None,
            Work::Prompt if bytes <= SHORT_BYTES_MAX => Some(&SHORT_PROMPTS),
            Work::Prompt => Some(&LONG_PROMPTS),
            Work::Text if bytes <= SHORT_BYTES_MAX => Some(&SHORT_TEXTS),
            Work::Text => Some(&LONG_TEXTS),
            Work::Body => None,
        }
    }

    /// Runs `work` here when it is short, else on a thread that may compute.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        if self.places(bytes).is_none() { work() } else { self.run_apart(bytes, work).await }
    }

    /// Runs `work` on a thread that may compute: how long a template takes is not told by the length of its texts.
    pub(crate) async fn run_apart<T: Send + 'static>(
        self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let places = self.places(bytes);
        let in_line = match self {
            Work::Text if places.is_some() => Some(TEXTS.try_acquire().map_err(|_| BUSY)?),
            _ => None,
        };
        let place = match places {
            Some(places) => Some(places.acquire().await.expect("nothing closes it")),
            None => None,
        };
        let work = move || {
            let _until_done = (in_line, place); // also when the client is gone, which does not stop the work
            work()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::Engine("preparing the request failed; the log has more".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// As many works as there are places, whose clients have gone.
    #[tokio::test]
    async fn abandoned_work_keeps_only_its_like_waiting() {
        let mut ends = Vec::new();
        for bytes in [1 << 20, 5000, 5000] {
            let (end, wait) = channel::<()>();
            ends.push(end);
            let work = move || {
                let _ = wait.recv();
                Ok(())
            };
            let left = Work::Text.run(bytes, work);
            assert!(tokio::time::timeout(Duration::from_millis(20), left).await.is_err());
        }
        for (kind, bytes) in [(Work::Prompt, 1 << 20), (Work::Prompt, 5000), (Work::Body, 1 << 20)] {
            let done = tokio::time::timeout(Duration::from_secs(30), kind.run(bytes, || Ok(7))).await;
            assert_eq!(done.expect("it does not wait").unwrap(), 7);
        }
        for bytes in [1 << 20, 5000] {
            let like = tokio::time::timeout(Duration::from_millis(20), Work::Text.run(bytes, || Ok(())));
            assert!(like.await.is_err());
        }
        // As many as may wait, and one more.
        let mut line: Vec<_> = (0..14).map(|_| Box::pin(Work::Text.run(5000, || Ok(())))).collect();
        let refused = futures::future::select_all(&mut line).await.0;
        assert!(matches!(refused, Err(ApiError::Busy { .. })));
        drop(line);
        drop(ends);
        Work::Text.run(1 << 20, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn panic_of_the_work_is_an_error_of_its_request() {
        let broken = Work::Body.run_apart(0, || -> Result<(), ApiError> { panic!("a bug") }).await;
        assert!(matches!(broken, Err(ApiError::Engine(_))));
    }
}
