//! How long a hub is waited for, before anything is transferred.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Then a person may wonder.
const TOLD_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Patience {
    /// Where packets are dropped nobody answers later either.
    pub(super) connect: Duration,
    /// Until an answer begins that lists a model's files; who has given one may take its time.
    pub(super) silence: Duration,
    pub(super) retries: u32,
}

/// Without an answer there is no model.
pub(super) const NEEDED: Patience =
    Patience { connect: Duration::from_secs(10), silence: Duration::from_secs(10), retries: 2 };

/// There is one, and an answer tells only whether there is a newer one.
pub(super) const CACHED: Patience =
    Patience { connect: Duration::from_secs(5), silence: Duration::from_secs(5), retries: 1 };

/// Tells that an answer takes long.
pub(super) async fn awaited<T>(hub: &str, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    match timeout(TOLD_AFTER, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            tracing::warn!(hub, "the hub does not answer yet; it is waited for");
            answer.await
        }
    }
}
