//! How a watch does: how often it has read everything, and whether it fails.

use std::time::Duration;

use futures::{Stream, stream};
use tokio::sync::watch::error::RecvError;
use tokio::sync::watch::{Receiver, Sender, channel};

use crate::watch_errors::Failing;

/// The watch's half.
pub(crate) struct Lists {
    count: Sender<u64>,
    failing: Failing,
}

/// Of whoever waits; clones share it.
#[derive(Clone)]
pub(crate) struct Listed {
    count: Receiver<u64>,
    failing: Failing,
}

pub(crate) fn lists() -> (Lists, Listed) {
    let (sender, receiver) = channel(0);
    let failing = Failing::default();
    (Lists { count: sender, failing: failing.clone() }, Listed { count: receiver, failing })
}

impl Lists {
    /// Once what was read can be seen.
    pub(crate) fn note(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn note_error(&self) {
        self.failing.note();
    }
}

impl Listed {
    pub(crate) fn is_ready(&self) -> bool {
        *self.count.borrow() > 0
    }

    /// Not everything was read yet, or the watch fails for so long.
    pub(crate) fn is_lacking(&self, failing_for: Duration) -> bool {
        !self.is_ready() || self.failing.is_for(failing_for)
    }

    /// Until everything was read once.
    ///
    /// # Errors
    /// The watch has ended before.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), RecvError> {
        self.count.clone().wait_for(|count| *count > 0).await.map(drop)
    }

    /// An item for each time that everything was read anew. What has vanished meanwhile shows in nothing else, and what
    /// has changed can be seen from then on only.
    pub(crate) fn again(&self) -> impl Stream<Item = ()> + Send + 'static + use<> {
        stream::unfold((self.count.clone(), 1), |(mut count, seen)| async move {
            let now = *count.wait_for(|count| *count > seen).await.ok()?;
            Some(((), (count, now)))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, pin_mut};

    use super::*;

    #[tokio::test]
    async fn the_first_list_is_waited_for_and_later_ones_are_news() {
        let (lists, listed) = lists();
        let again = listed.again();
        pin_mut!(again);
        assert!(!listed.is_ready() && again.next().now_or_never().is_none());
        lists.note();
        listed.wait_until_ready().await.unwrap();
        assert!(listed.is_ready() && again.next().now_or_never().is_none());
        lists.note();
        assert_eq!(again.next().now_or_never(), Some(Some(())));
        assert!(again.next().now_or_never().is_none());
        drop(lists);
        assert_eq!(again.next().await, None);
    }
}
