//! Kinds whose API a cluster may lack: what is known of each, and its watch, which runs while there is such an API.
//! Nothing here fails a reconcile or keeps it waiting.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::api::Api;
use kube::runtime::watcher;
use tokio::sync::watch::{Receiver, Sender, channel};

use super::build::ChildKind;
use super::cached::{Cached, Kept};
use super::children::{Changes, events, touched};
use super::classify::Cause;
use super::store::{Store, store};
use crate::in_words::in_words;

/// No reconcile waits longer for what is not known yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// What discovery says of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not asked yet.
    Unknown,
    Absent,
    Present,
    /// It could not be asked, and never was.
    Unanswered(String),
}

/// What reconciles may do with a kind.
#[derive(Clone)]
pub(crate) enum Access {
    /// To be known soon.
    Pending,
    Absent,
    Failing(String),
    Ready(Store<Kept>),
}

/// Why an object of a kind was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The cluster has no such API.
    Missing,
    /// It may have, and its objects cannot be read.
    Unreachable(String),
    /// This one cannot be applied.
    Refused(Cause),
}

/// The reading half, for reconciles.
#[derive(Clone)]
pub(crate) struct Optional {
    access: Receiver<Access>,
}

impl Optional {
    /// Waits until something is known, though not for ever.
    pub(crate) async fn settled(&self) {
        let mut access = self.access.clone();
        // Still pending then, and a lack like others.
        let _ = tokio::time::timeout(PATIENCE, access.wait_for(is_settled)).await;
    }

    pub(crate) fn lack(&self) -> Option<Lack> {
        match &*self.access.borrow() {
            Access::Ready(_) => None,
            Access::Absent => Some(Lack::Missing),
            Access::Failing(message) => Some(Lack::Unreachable(message.clone())),
            Access::Pending => Some(Lack::Unreachable("its objects were not read yet".to_owned())),
        }
    }

    pub(crate) fn store(&self) -> Option<Store<Kept>> {
        match &*self.access.borrow() {
            Access::Ready(store) => Some(store.clone()),
            _ => None,
        }
    }

    /// An item for each time that something else is known than at first, for which reconciles wait anyway unless it takes
    /// long, or that all objects were read anew.
    pub(crate) fn turns(&self) -> impl Stream<Item = ()> + Send + 'static + use<> {
        let mut access = self.access.clone();
        let first = async move {
            let is_late = tokio::time::timeout(PATIENCE, access.wait_for(is_settled)).await.is_err();
            (access, is_late)
        };
        stream::once(first).flat_map(|first| {
            stream::unfold(first, |(mut access, is_news)| async move {
                if !is_news {
                    access.changed().await.ok()?;
                }
                access.wait_for(is_settled).await.ok()?;
                Some(((), (access, false)))
            })
        })
    }
}

fn is_settled(access: &Access) -> bool {
    !matches!(access, Access::Pending)
}

/// Follows what discovery says: a watch while the API is there, which must be polled.
pub(crate) fn watch(
    kind: ChildKind,
    api: Api<Cached>,
    presence: Receiver<Presence>,
    ask: impl Fn() + Clone + Send + Sync + 'static,
) -> (Optional, Changes<Cached>) {
    let (sender, access) = channel(Access::Pending);
    let follower = Follower { kind, api, presence, access: sender };
    let changes = stream::unfold(follower, move |mut follower| {
        let ask = ask.clone();
        async move {
            let changes = follower.next_watch(ask).await?;
            Some((changes, follower))
        }
    });
    (Optional { access }, changes.flatten().boxed())
}

struct Follower {
    kind: ChildKind,
    api: Api<Cached>,
    presence: Receiver<Presence>,
    access: Sender<Access>,
}

impl Follower {
    /// Waits until the API is there; the watch ends when it is not there any more.
    async fn next_watch(&mut self, ask: impl Fn() + Clone + Send + 'static) -> Option<Changes<Cached>> {
        loop {
            let presence = self.presence.borrow_and_update().clone();
            let access = match presence {
                Presence::Present => break,
                Presence::Unknown => Access::Pending,
                Presence::Absent => Access::Absent,
                Presence::Unanswered(message) => Access::Failing(message),
            };
            self.access.send_replace(access);
            self.presence.changed().await.ok()?;
        }
        self.access.send_replace(Access::Pending);
        let mut presence = self.presence.clone();
        let gone = async move {
            let _ = presence.wait_for(|presence| *presence != Presence::Present).await;
        };
        let (store, writer) = store();
        let access = self.access.clone();
        let events =
            events(self.api.clone(), self.kind.selector(), writer).inspect(move |event| match event {
                Ok(watcher::Event::InitDone) => drop(access.send_replace(Access::Ready(store.clone()))),
                Ok(_) => {}
                Err(error) => {
                    turn_failing(&access, error);
                    ask();
                }
            });
        Some(touched(events).take_until(Box::pin(gone)).boxed())
    }
}

/// What was read before stays good while the watch is tried again.
fn turn_failing(access: &Sender<Access>, error: &watcher::Error) {
    access.send_if_modified(|access| {
        let is_new = matches!(access, Access::Pending);
        if is_new {
            *access = Access::Failing(in_words(error));
        }
        is_new
    });
}
