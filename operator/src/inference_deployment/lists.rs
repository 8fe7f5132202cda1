//! How often a watch has read everything.

use futures::{Stream, stream};
use tokio::sync::watch::error::RecvError;
use tokio::sync::watch::{Receiver, Sender, channel};

/// The watch's half.
pub(crate) struct Lists(Sender<u32>);

/// Of whoever waits; clones share it.
#[derive(Clone)]
pub(crate) struct Listed(Receiver<u32>);

pub(crate) fn lists() -> (Lists, Listed) {
    let (sender, receiver) = channel(0);
    (Lists(sender), Listed(receiver))
}

impl Lists {
    /// Once what was read can be seen.
    pub(crate) fn note(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1).max(1));
    }
}

impl Listed {
    pub(crate) fn is_ready(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Until everything was read once.
    ///
    /// # Errors
    /// The watch has ended before.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), RecvError> {
        self.0.clone().wait_for(|count| *count > 0).await.map(drop)
    }

    /// An item for each time that everything was read anew. What has vanished meanwhile shows in nothing else, and what
    /// has changed can be seen from then on only.
    pub(crate) fn again(&self) -> impl Stream<Item = ()> + Send + 'static + use<> {
        stream::unfold((self.0.clone(), 1), |(mut lists, seen)| async move {
            let count = *lists.wait_for(|count| *count != 0 && *count != seen).await.ok()?;
            Some(((), (lists, count)))
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
