//! What the daemons of an object's pods say of its models. They are asked when a pod is new, when its readiness or its
//! container changed, again while it is not ready, and now and then; in between their last word stands. Asking is
//! bounded in time, in number and in bytes, and never fails a reconcile.

mod ask;
mod pod;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use ostro_crds::ModelState;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::RESYNC;
use crate::in_words::in_words;
use crate::memory::Memory;
use crate::metrics::{DaemonReply, Metrics};
#[cfg(test)]
pub(crate) use ask::Connection;
pub(crate) use ask::{Dial, dial};
use pod::{Running, Seen};
pub(crate) use pod::{http_port, is_ready};

/// Of all objects together.
const CONCURRENCY: usize = 32;
/// For all of an object's pods: a reconcile waits no longer.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// For one pod.
const PATIENCE: Duration = Duration::from_secs(1);
/// For one pod, after `SILENT_MAX` in a row were silent: the network is likely closed to the operator.
const PATIENCE_IN_SILENCE: Duration = Duration::from_millis(100);
const SILENT_MAX: u32 = 16;
/// A reconcile waits for answers, in a place that others want: one that comes later counts as silence for the next time.
const LATE: Duration = Duration::from_millis(500);
/// Silences as which late answers in a row count at most: 80 s.
const LATE_MAX: u32 = 4;
/// Until a pod that is not ready is asked again; doubles with each silence in a row but the first: a new container does
/// not listen yet.
const AGAIN: Duration = Duration::from_secs(10);
/// An object whose pods were not asked for so long is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
const SWEPT_EVERY: Duration = Duration::from_secs(600);

/// A pod that runs. Models that it says nothing of are not loaded in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodModels {
    pub(crate) is_ready: bool,
    /// Hash of the template that it was made of.
    pub(crate) template: Option<String>,
    /// `None` where it could not be asked.
    pub(crate) told: Option<Vec<Told>>,
}

/// What a daemon says of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// As the object names it.
    pub(crate) id: String,
    /// `None` for one that this operator does not know.
    pub(crate) state: Option<ModelState>,
    pub(crate) message: Option<String>,
}

/// What is known of an object's pods now.
#[derive(Debug)]
pub(crate) struct Look {
    /// By the pods' names.
    pub(crate) pods: Vec<PodModels>,
    /// When to look again, if sooner than at the next resync.
    pub(crate) again: Option<Duration>,
}

/// Asks, and remembers the answers.
pub(crate) struct Daemons {
    dial: Dial,
    metrics: Metrics,
    turns: Semaphore,
    silent_in_a_row: AtomicU32,
    /// By the object's uid.
    memory: Memory<String, Asked>,
}

struct Asked {
    /// Hash of the models that were asked about.
    ids: u64,
    /// Few: a map of one would take room for four.
    pods: Box<[Known]>,
    last: Instant,
}

/// The last word of a pod, and what the pod was then.
struct Known {
    pod: Seen,
    told: Option<Vec<Told>>,
    asked: Instant,
    silences: u32,
}

impl Daemons {
    pub(crate) fn new(dial: Dial, metrics: Metrics) -> Daemons {
        let turns = Semaphore::new(CONCURRENCY);
        Daemons { dial, metrics, turns, silent_in_a_row: AtomicU32::default(), memory: Memory::default() }
    }

    /// Of one object, by its uid, the models that it names and its pods.
    pub(crate) async fn look<'a>(
        &self,
        uid: &str,
        ids: &[String],
        pods: impl IntoIterator<Item = &'a Pod>,
    ) -> Look {
        let mut before = self.recall(uid, ids);
        let mut running: Vec<Running> = pods.into_iter().filter_map(Running::of).collect();
        running.sort_by(|one, other| one.name.cmp(&other.name));
        let templates: Vec<Option<String>> = running.iter().map(|pod| pod.template.clone()).collect();
        let deadline = Instant::now() + LOOK_LIMIT;
        let renewals = running.into_iter().map(|pod| {
            let seen = pod.seen();
            let known = before.iter().position(|known| known.pod == seen);
            let known = known.map(|known| before.swap_remove(known));
            self.renew(pod, known, (ids, deadline))
        });
        let known = join_all(renewals).await;
        let look = Look {
            again: known.iter().filter_map(Known::again).min(),
            pods: known.iter().zip(templates).map(|(known, template)| known.models(template)).collect(),
        };
        self.remember(uid, ids, known);
        look
    }

    /// Nothing when other models were asked about.
    fn recall(&self, uid: &str, ids: &[String]) -> Vec<Known> {
        let asked = self.memory.lock().all.remove(uid);
        let asked = asked.filter(|asked| asked.ids == hash_of(ids));
        asked.map(|asked| asked.pods.into_vec()).unwrap_or_default()
    }

    fn remember(&self, uid: &str, ids: &[String], known: Vec<Known>) {
        let (mut memory, now) = (self.memory.lock(), Instant::now());
        memory.sweep(SWEPT_EVERY, |asked| now < asked.last + FORGOTTEN_AFTER);
        let Some(last) = known.iter().map(|known| known.asked).max() else { return };
        memory.all.insert(uid.to_owned(), Asked { ids: hash_of(ids), pods: known.into(), last });
    }

    /// Silence changes nothing of what the same container said before.
    async fn renew(&self, pod: Running, known: Option<Known>, until: (&[String], Instant)) -> Known {
        let now = Instant::now();
        let known = match known {
            Some(known) if now < known.due() => return known,
            known => known,
        };
        let (pod, address) = (pod.seen(), pod.address);
        let Some(address) = address else { return Known { pod, told: None, asked: now, silences: 0 } };
        let (answer, is_late) = self.ask(address, until).await;
        let (before, silences) = known.map_or((None, 0), |known| (known.told, known.silences));
        let silences = match (&answer, is_late) {
            (Some(_), false) => 0,
            (Some(_), true) => silences.saturating_add(1).min(LATE_MAX),
            (None, _) => silences.saturating_add(1),
        };
        Known { pod, told: answer.or(before), asked: now, silences }
    }

    /// What it says, and whether it took long.
    async fn ask(
        &self,
        address: SocketAddr,
        (ids, deadline): (&[String], Instant),
    ) -> (Option<Vec<Told>>, bool) {
        let mut asked = None;
        let answer = timeout_at(deadline, async {
            let _turn = self.turns.acquire().await;
            asked = Some(Instant::now());
            timeout(self.patience(), ask::ask(&self.dial, address, ids)).await
        });
        let (told, reply) = match answer.await {
            Ok(Ok(Ok(told))) => {
                self.silent_in_a_row.store(0, Ordering::Relaxed);
                (Some(told), DaemonReply::Answered)
            }
            Ok(Ok(Err(error))) => {
                tracing::debug!(%address, "{}", in_words(&error));
                (None, DaemonReply::Failed)
            }
            Ok(Err(_)) | Err(_) => {
                self.silent_in_a_row.fetch_add(1, Ordering::Relaxed);
                (None, DaemonReply::TimedOut)
            }
        };
        self.metrics.daemon_asked(reply);
        (told, asked.is_some_and(|asked| asked.elapsed() >= LATE))
    }

    fn patience(&self) -> Duration {
        match self.silent_in_a_row.load(Ordering::Relaxed) {
            0..SILENT_MAX => PATIENCE,
            SILENT_MAX.. => PATIENCE_IN_SILENCE,
        }
    }
}

/// The same within this process only.
fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Known {
    fn models(&self, template: Option<String>) -> PodModels {
        PodModels { is_ready: self.pod.is_ready, template, told: self.told.clone() }
    }

    fn due(&self) -> Instant {
        let wait = match self.pod.is_ready {
            true => RESYNC,
            false => AGAIN.saturating_mul(1 << self.silences.saturating_sub(1).min(10)).min(RESYNC),
        };
        self.asked + wait
    }

    /// Only while the pod is not ready: nothing else would tell of what changes in it.
    fn again(&self) -> Option<Duration> {
        let is_awaited = !self.pod.is_ready && self.pod.has_address;
        is_awaited.then(|| self.due().saturating_duration_since(Instant::now()).max(Duration::from_secs(1)))
    }
}
