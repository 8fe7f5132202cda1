//! Work that computes, away from the threads that drive connections.
//!
//! A client that leaves does not end it, so each kind has places of its own: what was left behind keeps only its like
//! waiting.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;

/// About a millisecond of tokenising, or less of reading.
const INLINE_BYTES_MAX: usize = 4096;
/// Some tens of milliseconds of tokenising.
const SHORT_BYTES_MAX: usize = 64 << 10;
/// About a millisecond of reading JSON.
const INLINE_BODY_BYTES_MAX: usize = 64 << 10;

/// The lines of prompts and texts leave some requests their place (`RouterOptions::preparing_max`).
static SHORT_PROMPTS: Places = Places::new(4, 256);
static LONG_PROMPTS: Places = Places::new(2, 128);
static SHORT_TEXTS: Places = Places::new(2, 12);
static LONG_TEXTS: Places = Places::new(1, 4);
/// The memory for bodies bounds their line.
static BODIES: Places = Places::new(2, Semaphore::MAX_PERMITS);

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

/// For works of one kind.
struct Places {
    /// Those that run at once: bounds their memory too, which is a multiple of their bytes.
    running: Semaphore,
    /// Those that wait or run; more are refused, since whoever waits keeps a place among all requests.
    line: Semaphore,
}

impl Places {
    const fn new(running: usize, line: usize) -> Places {
        Places { running: Semaphore::const_new(running), line: Semaphore::const_new(line) }
    }

    /// # Errors
    /// The line is full.
    async fn take(&'static self) -> Result<[SemaphorePermit<'static>; 2], ApiError> {
        let in_line = self.line.try_acquire().map_err(|_| BUSY)?;
        Ok([in_line, self.running.acquire().await.expect("nothing closes it")])
    }
}

impl Work {
    fn places(self, bytes: usize) -> Option<&'static Places> {
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
        let place = match self.places(bytes) {
            Some(places) => Some(places.take().await?),
            None => None,
        };
        let work = move || {
            let _until_done = place; // also when the client is gone, which does not stop the work
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
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Works whose clients have gone, until the senders are dropped.
    async fn abandon(kind: Work, sizes: &[usize]) -> Vec<Sender<()>> {
        let mut ends = Vec::new();
        for bytes in sizes {
            let (end, wait) = channel::<()>();
            ends.push(end);
            let work = move || {
                let _ = wait.recv();
                Ok(())
            };
            let left = kind.run(*bytes, work);
            assert!(tokio::time::timeout(Duration::from_millis(20), left).await.is_err());
        }
        ends
    }

    async fn passes(kind: Work, bytes: usize) {
        let done = tokio::time::timeout(Duration::from_secs(30), kind.run_apart(bytes, || Ok(7))).await;
        assert_eq!(done.expect("it does not wait").unwrap(), 7);
    }

    /// Where all places are taken: so many more wait, and one is refused.
    async fn refuses_beyond_its_line(kind: Work, bytes: usize, waiting: usize) {
        let mut line: Vec<_> = (0..=waiting).map(|_| Box::pin(kind.run(bytes, || Ok(())))).collect();
        let (first, at, _) = futures::future::select_all(&mut line).await;
        assert!(matches!(first, Err(ApiError::Busy { .. })) && at == waiting, "{at}");
    }

    /// As many works as there are places; one test, since all share these.
    #[tokio::test]
    async fn abandoned_work_keeps_only_its_like_waiting() {
        let ends = abandon(Work::Text, &[1 << 20, 5000, 5000]).await;
        for (kind, bytes) in [(Work::Prompt, 1 << 20), (Work::Prompt, 5000), (Work::Body, 1 << 20)] {
            passes(kind, bytes).await;
        }
        refuses_beyond_its_line(Work::Text, 5000, 12 - 2).await;
        refuses_beyond_its_line(Work::Text, 1 << 20, 4 - 1).await;
        drop(ends);
        passes(Work::Text, 1 << 20).await;

        let ends = abandon(Work::Prompt, &[1 << 20, 1 << 20]).await;
        refuses_beyond_its_line(Work::Prompt, 1 << 20, 128 - 2).await;
        for (kind, bytes) in [(Work::Prompt, 0), (Work::Prompt, 5000), (Work::Text, 1 << 20)] {
            passes(kind, bytes).await;
        }
        drop(ends);
        passes(Work::Prompt, 1 << 20).await;
    }

    #[tokio::test]
    async fn panic_of_the_work_is_an_error_of_its_request() {
        let broken = Work::Body.run_apart(0, || -> Result<(), ApiError> { panic!("a bug") }).await;
        assert!(matches!(broken, Err(ApiError::Engine(_))));
    }
}
