//! One operator works at a time: the holder of a Lease. What to do is decided by `Election` and `Term`, which know no API
//! and no clock; a holder that cannot renew in time ends its process.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::in_words::in_words;
use crate::readiness::Readiness;

const NAME: &str = "ostro-operator";
/// A holder that was not heard of for this long has lost the lease.
const DURATION: Duration = Duration::from_secs(15);
/// A holder gives up when it could not renew for this long: well before another may take the lease.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// A hanging connection must leave time for another attempt.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(2);

/// Who holds the lease, as this process has seen it.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    identity: String,
    /// The lease as it was seen last, and when it last changed: by this process' clock, whatever that of others says.
    seen: Option<(LeaseSpec, Instant)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Write this, and lead if nobody wrote first.
    Take(Box<LeaseSpec>),
    Wait,
}

impl Election {
    pub(crate) fn new(identity: String) -> Self {
        Election { identity, seen: None }
    }

    /// `now` twice: for waiting, and for people to read.
    pub(crate) fn decide(&mut self, lease: Option<&LeaseSpec>, now: Instant, wall: Timestamp) -> Decision {
        let Some(lease) = lease else { return self.take(None, wall) };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != lease) {
            self.seen = Some((lease.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        let seconds = u64::try_from(lease.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let is_expired = now.duration_since(since) >= Duration::from_secs(seconds);
        if holder == self.identity || holder.is_empty() || is_expired {
            return self.take(Some(lease), wall);
        }
        Decision::Wait
    }

    fn take(&self, lease: Option<&LeaseSpec>, wall: Timestamp) -> Decision {
        let is_mine = lease.is_some_and(|lease| lease.holder_identity.as_deref() == Some(&self.identity));
        let transitions = lease.and_then(|lease| lease.lease_transitions).unwrap_or(0);
        let acquired = lease.filter(|_| is_mine).and_then(|lease| lease.acquire_time.clone());
        Decision::Take(Box::new(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(acquired.unwrap_or(MicroTime(wall))),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(transitions + i32::from(lease.is_some() && !is_mine)),
            ..LeaseSpec::default()
        }))
    }
}

/// How long a holder may go on, by the last request that renewed its lease.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// When that was sent: when it was written is not known, but not before.
    asked: Instant,
}

impl Term {
    fn left(self, now: Instant) -> Duration {
        RENEW_DEADLINE.saturating_sub(now.duration_since(self.asked))
    }
}

/// The lease, reached through the API.
pub(crate) struct Leader {
    api: Api<Lease>,
    election: Election,
}

impl Leader {
    /// `name` is for people.
    pub(crate) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Leader { api: Api::namespaced(client, namespace), election: Election::new(identity(name)) }
    }

    /// Returns once this process leads.
    pub(crate) async fn acquire(&mut self, readiness: &Readiness) {
        loop {
            let attempt = timeout(ATTEMPT_LIMIT, self.attempt()).await;
            // Two that write at once are no fault.
            let works =
                matches!(&attempt, Ok(Ok(_))) || matches!(&attempt, Ok(Err(error)) if is_conflict(error));
            readiness.lease(works);
            match attempt {
                // Written not long ago: `hold` renews it at once.
                Ok(Ok(true)) => return tracing::info!("leading"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!("cannot take the lease: {}", in_words(&error)),
                Err(_) => tracing::warn!("the lease is not answered for"),
            }
            sleep(RETRY).await;
        }
    }

    /// Renews; returns when the lease is lost, or could not be renewed for too long.
    pub(crate) async fn hold(&mut self) {
        // An attempt of `acquire` may have begun that much sooner.
        let mut term = Term { asked: Instant::now() - ATTEMPT_LIMIT };
        loop {
            let asked = Instant::now();
            let left = term.left(asked);
            if left.is_zero() {
                return tracing::error!("the lease could not be renewed in time");
            }
            match timeout(left.min(ATTEMPT_LIMIT), self.attempt()).await {
                Ok(Ok(true)) => term = Term { asked },
                Ok(Ok(false)) => return tracing::error!("another operator took the lease"),
                Ok(Err(error)) => tracing::warn!("cannot renew the lease: {}", in_words(&error)),
                Err(_) => tracing::warn!("renewing the lease takes too long"),
            }
            sleep(RETRY.min(term.left(Instant::now()))).await;
        }
    }

    /// So that a successor need not wait.
    pub(crate) async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(NAME).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.election.identity) {
            spec.holder_identity = None;
            if let Err(error) = self.api.replace(NAME, &PostParams::default(), &lease).await {
                tracing::warn!("cannot release the lease: {}", in_words(&error));
            }
        }
    }

    /// Whether this process holds the lease now. Who writes first wins, by the object's version.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let Decision::Take(spec) = self.election.decide(spec, Instant::now(), Timestamp::now()) else {
            return Ok(false);
        };
        let written = match found {
            Some(lease) => {
                let lease = Lease { spec: Some(*spec), ..lease };
                self.api.replace(NAME, &PostParams::default(), &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(*spec) }).await
            }
        };
        // Somebody wrote first: another, or an attempt of this process that was given up. The next one reads who.
        written?;
        Ok(true)
    }
}

/// Of this process and no other: nodes that are cut off may run pods of one name at once, and people give names twice.
/// As of Kubernetes' own controllers.
fn identity(name: &str) -> String {
    format!("{name}_{}", Uuid::new_v4())
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests;
