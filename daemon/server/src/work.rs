//! Work that computes, away from the threads that drive connections.
//!
//! A client that leaves does not end it, so each kind has places of its own: what was left behind keeps only its like
//! waiting.

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
static LONG_TEXTS: Semaphore = Semaphore::const_new(1);
static BODIES: Semaphore = Semaphore::const_new(2);

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
            Work::Prompt | Work::Text if bytes <= SHORT_BYTES_MAX => Some(&SHORT_PROMPTS),
            Work::Prompt => Some(&LONG_PROMPTS),
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
        let permit = match self.places(bytes) {
            Some(places) => Some(places.acquire().await.expect("nothing closes it")),
            None => None,
        };
        let work = move || {
            let _until_done = permit; // also when the client is gone, which does not stop the work
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
    use std::time::Duration;

    use super::*;

    /// As many works as there are places, whose clients have gone.
    #[tokio::test]
    async fn abandoned_work_keeps_only_its_like_waiting() {
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (end, wait) = channel::<()>();
            ends.push(end);
            let work = move || {
                let _ = wait.recv();
                Ok(())
            };
            let left = Work::Text.run(1 << 20, work);
            assert!(tokio::time::timeout(Duration::from_millis(20), left).await.is_err());
        }
        for (kind, bytes) in [(Work::Prompt, 1 << 20), (Work::Prompt, 5000), (Work::Body, 1 << 20)] {
            let done = tokio::time::timeout(Duration::from_secs(30), kind.run(bytes, || Ok(7))).await;
            assert_eq!(done.expect("it does not wait").unwrap(), 7);
        }
        let like = tokio::time::timeout(Duration::from_millis(20), Work::Text.run(1 << 20, || Ok(())));
        assert!(like.await.is_err());
        drop(ends);
        Work::Text.run(1 << 20, || Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn panic_of_the_work_is_an_error_of_its_request() {
        let broken = Work::Body.run_apart(0, || -> Result<(), ApiError> { panic!("a bug") }).await;
        assert!(matches!(broken, Err(ApiError::Engine(_))));
    }
}
