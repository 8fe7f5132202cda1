//! The connections that are held: which one ends where all places are taken and another one comes.

use std::sync::Arc;
use std::time::Duration;

use ostro_listen::Seldom;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::activity::{Activity, WeakActivity};

/// For a request that is on its way.
const IDLE_TIME_MIN: Duration = Duration::from_secs(1);
/// Until another connection is looked for that may end.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Held {
    connections: Vec<WeakActivity>,
    ended: Seldom,
}

impl Held {
    pub(super) fn add(&mut self, connection: &Activity) {
        if self.connections.len() == self.connections.capacity() {
            self.forget_ended();
        }
        self.connections.push(connection.downgrade());
    }

    /// A place among all. Where none is free, the connection without a request for the longest time gives up its own, so that
    /// nobody keeps others out by holding connections, such as a pod's probes.
    pub(super) async fn place(&mut self, places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = places.clone().try_acquire_owned() {
                return place;
            }
            self.end_one();
            if let Ok(place) = timeout(PAUSE, places.clone().acquire_owned()).await {
                return place.expect("the semaphore is never closed");
            }
        }
    }

    fn end_one(&mut self) {
        self.forget_ended();
        let idle = self.connections.iter().filter_map(|connection| {
            let connection = connection.upgrade()?;
            let since = connection.idle_since().filter(|since| since.elapsed() >= IDLE_TIME_MIN)?;
            Some((since, connection))
        });
        let Some((_, connection)) = idle.min_by_key(|(since, _)| *since) else { return };
        connection.give_up();
        if let Some(ended) = self.ended.note() {
            tracing::warn!(ended, "all connections are taken: idle ones are closed for others");
        }
    }

    fn forget_ended(&mut self) {
        self.connections.retain(|connection| connection.upgrade().is_some());
    }
}
