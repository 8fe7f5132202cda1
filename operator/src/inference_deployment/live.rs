//! What the caches show of an object's pods, read once a reconcile when its children are applied, and what that says of
//! why pods do not get ready.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use ostro_crds::{InferenceDeployment, Reason};

use super::Context;
use super::build::{CONTAINER, ChildKind, Purpose, needs_spare, startup_time, template_hash};
use super::classify::{
    self, Cause, Signals, Stuck, claim_name, classify, ended_quietly, with_end, with_lacking_secret,
};
use super::workload::Workload;
use super::{events, refusal};

pub(super) struct Live {
    pub(super) workload: Option<Workload>,
    /// Of the workload.
    pub(super) pods: Vec<Pod>,
    /// Of a Job that downloads models.
    pub(super) prefetchers: Vec<Pod>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited<'a> {
    /// Pods of this kind of workload, and of this template.
    Pods(ChildKind, Option<&'a str>),
    /// A Job, its name, and its template.
    Job(Purpose, &'a str, &'a str),
}

impl Live {
    /// With this kind of workload; with either where none was applied.
    pub(super) fn read(context: &Context, owner: &InferenceDeployment, kind: Option<ChildKind>) -> Live {
        let workload = Workload::find(&context.children, owner, kind);
        // Without it, pods of these labels are somebody else's.
        let pods = workload.as_ref().map(|_| context.children.pods_of(owner)).unwrap_or_default();
        Live { workload, pods, prefetchers: context.children.pods_of_job(owner, Purpose::Prefetch) }
    }

    /// All that daemons run in.
    pub(super) fn all_pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().chain(&self.prefetchers)
    }

    /// Why what is waited for does not come, and when that should be asked again.
    pub(super) async fn cause(
        &self,
        context: &Context,
        owner: &InferenceDeployment,
        awaited: Awaited<'_>,
    ) -> (Option<Cause>, Option<Duration>) {
        let pruners;
        let (all, template) = match awaited {
            Awaited::Pods(_, template) => (&self.pods, template),
            Awaited::Job(Purpose::Prefetch, _, template) => (&self.prefetchers, Some(template)),
            Awaited::Job(Purpose::Prune, _, template) => {
                pruners = context.children.pods_of_job(owner, Purpose::Prune);
                (&pruners, Some(template))
            }
        };
        // What pods of before suffer from says nothing of what they are replaced by.
        let is_of_pods = matches!(awaited, Awaited::Pods(..));
        let pods = all.iter().filter(|pod| template_hash(&pod.metadata) == template);
        // The Job says a moment later that it is done.
        let pods: Vec<&Pod> = pods.filter(|pod| is_of_pods || !has_done(pod)).collect();
        let claims = claims(context, owner, all);
        let startup = self.workload.as_ref().and_then(|workload| startup_time(&workload.spec.template));
        let (refusal, refusal_again) = self.refusal(context, owner, (awaited, &pods)).await;
        let is_deployment = matches!(awaited, Awaited::Pods(ChildKind::Deployment, _));
        let now = Timestamp::now();
        let signals = Signals {
            pods: &pods,
            refusal: refusal.as_deref(),
            claims: &claims,
            needs_spare: is_deployment && needs_spare(&owner.spec),
            // A download takes as long as it takes.
            startup: startup.filter(|_| is_of_pods),
            is_complete: is_of_pods && self.workload.as_ref().is_some_and(Workload::is_ready),
            now,
        };
        let mut cause = classify(&signals);
        match awaited {
            Awaited::Pods(..) => {}
            Awaited::Job(Purpose::Prefetch, name, _) => {
                cause = self.failed_job(context, owner, name).or(cause.map(of_job));
            }
            // Its pods are not begun again, and stay.
            Awaited::Job(Purpose::Prune, ..) => {
                cause = classify::last_crash(&pods).or(cause).map(of_job);
            }
        }
        let mut again = [refusal_again, signals.due()].into_iter().flatten().min();
        if cause.is_none() && signals.is_complete {
            return (None, again);
        }
        let stuck = Stuck::find(&pods, now);
        if let Some(cause) = cause {
            return (Some(with_events(context, owner, cause, (&pods, &stuck)).await), again);
        }
        again = again.into_iter().chain(stuck.iter().map(Stuck::again)).min();
        (of_events(context, owner, &stuck).await, again)
    }

    /// As what ends Jobs after some time does.
    fn failed_job(&self, context: &Context, owner: &InferenceDeployment, name: &str) -> Option<Cause> {
        let job = context.children.job_of(owner, name)?;
        let why = job.failure()?;
        let message = format!("Job {name} failed: {why}; it is made anew when it is deleted");
        Some(Cause { reason: Reason::PodFailed, message })
    }

    /// Why the API server lets no pods be made.
    async fn refusal(
        &self,
        context: &Context,
        owner: &InferenceDeployment,
        (awaited, pods): (Awaited<'_>, &[&Pod]),
    ) -> (Option<String>, Option<Duration>) {
        let uid = match (awaited, &self.workload) {
            (Awaited::Pods(ChildKind::Deployment, _), Some(workload)) => {
                return (refusal::of_status(workload), None);
            }
            (Awaited::Pods(..), Some(workload)) if refusal::lacks_pods(workload) => workload.uid(),
            (Awaited::Job(_, name, _), _) if pods.is_empty() => {
                context.children.job_of(owner, name).and_then(|job| job.uid())
            }
            _ => None,
        };
        let Some(uid) = uid else { return (None, None) };
        let namespace = owner.namespace().unwrap_or_default();
        let told = refusal::fetch(&context.client, (&namespace, &uid), pods).await;
        (told, Some(refusal::AGAIN))
    }
}

/// Whatever else runs in the pod.
fn has_done(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut ended = statuses.filter(|status| status.name == CONTAINER).filter_map(|status| {
        let state = status.state.as_ref()?;
        state.terminated.as_ref()
    });
    ended.any(|ended| ended.exit_code == 0)
}

/// The hints of classify are for pods of the daemon.
fn of_job(cause: Cause) -> Cause {
    match cause.reason {
        Reason::HostOutOfMemory => {
            let message = "it was killed for memory: it may take no more than 512 MiB".to_owned();
            Cause { message, ..cause }
        }
        _ => cause,
    }
}

fn claims(context: &Context, owner: &InferenceDeployment, pods: &[Pod]) -> Vec<PersistentVolumeClaim> {
    let names: BTreeSet<&str> = pods.iter().filter_map(claim_name).collect();
    let claim = |name| context.children.typed(ChildKind::PersistentVolumeClaim, owner, name);
    names.into_iter().filter_map(claim).collect()
}

/// Of pods that nothing else is told of.
async fn of_events(context: &Context, owner: &InferenceDeployment, stuck: &[Stuck<'_>]) -> Option<Cause> {
    for stuck in stuck.iter().filter(|stuck| stuck.is_overdue()) {
        let events = events_of(context, owner, stuck.pod).await;
        if let Some(cause) = stuck.cause(&events) {
            return Some(cause);
        }
    }
    None
}

/// Which Secret is lacking, of an image that cannot be pulled, only events tell; and why a node ended what ends well.
async fn with_events(
    context: &Context,
    owner: &InferenceDeployment,
    cause: Cause,
    (pods, stuck): (&[&Pod], &[Stuck<'_>]),
) -> Cause {
    let now = Timestamp::now();
    match cause.reason {
        Reason::ImagePullFailed => {
            let mut events = Vec::new();
            for stuck in stuck {
                events.extend(events_of(context, owner, stuck.pod).await);
            }
            with_lacking_secret(cause, &events, now)
        }
        Reason::PodFailed => match ended_quietly(pods, now) {
            Some(pod) => with_end(cause, &events_of(context, owner, pod).await),
            None => cause,
        },
        _ => cause,
    }
}

async fn events_of(context: &Context, owner: &InferenceDeployment, pod: &Pod) -> Vec<Event> {
    let namespace = owner.namespace().unwrap_or_default();
    let uid = pod.uid().unwrap_or_default();
    events::fetch(&context.client, (&namespace, &uid), "").await
}
