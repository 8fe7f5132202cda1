//! When an object's cache is pruned, and what is told of that.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use ostro_crds::{InferenceDeployment, Reason};

use super::Context;
use super::build::{
    ChildKind, Kept, Names, Prepared, Purpose, TEMPLATE_HASH_ANNOTATION, job_prefix, prune_job, template_hash,
};
use super::classify::has_ended;
use super::live::{Awaited, Live};
use super::status::Finding;
use super::workload::Workload;

/// Beyond its grace.
const LOST: SignedDuration = SignedDuration::from_secs(60);

/// The Job, where it is there already or its time has come: all pods are of the template that is kept. None for a claim
/// that goes: a pod keeps it, one that has ended too.
pub(super) fn due(context: &Context, owner: &InferenceDeployment, kept: &Kept) -> Option<Prepared> {
    let job = prune_job(owner, kept)?;
    let mut claims = context.children.of_kind(ChildKind::PersistentVolumeClaim, owner).into_iter();
    let own = Names::of(owner).claim();
    if claims.any(|(name, claim)| name == own && claim.is_going) {
        return None;
    }
    let is_there = context.children.job_of(owner, &job.object.name_any()).is_some();
    (is_there || is_rolled_out(context, owner, kept)).then_some(job)
}

fn is_rolled_out(context: &Context, owner: &InferenceDeployment, kept: &Kept) -> bool {
    let workload = Workload::find(&context.children, owner, Some(kept.rendering.workload()));
    workload.is_some_and(|workload| {
        let template = workload.spec.template.metadata.as_ref();
        workload.is_ready() && template.and_then(template_hash) == kept.rendering.template_hash()
    })
}

/// What still removes from the cache what pods of before do not need.
pub(super) enum Unfinished {
    Job {
        name: String,
        /// It was told to end.
        is_going: bool,
    },
    /// Of a Job that is gone: who deletes one need not wait for its pods.
    Pod { name: String },
}

/// For pods of before, and may remove what others will need: it ends first.
pub(super) fn unfinished(context: &Context, owner: &InferenceDeployment, kept: &Kept) -> Option<Unfinished> {
    let (own, template) = prune_job(owner, kept).as_ref().map(names).unzip();
    let prefix = job_prefix(&owner.name_any(), Purpose::Prune);
    let pods = context.children.pods_of_job(owner, Purpose::Prune);
    let mut jobs = context.children.of_kind(ChildKind::Job, owner).into_iter();
    let job = jobs.find(|(name, job)| {
        let is_other = name.starts_with(&prefix) && Some(name) != own.as_ref();
        let is_over = |job: Workload| job.is_done() || job.failure().is_some();
        is_other && !job.typed().is_some_and(is_over)
    });
    if let Some((name, job)) = job {
        let is_waited_for = pods.is_empty() || !pods.iter().all(is_overdue);
        return is_waited_for.then_some(Unfinished::Job { name, is_going: job.is_going });
    }
    let mut others = pods.iter().filter(|pod| template_hash(&pod.metadata) != template.as_deref());
    let left = others.find(|pod| !pod.status.as_ref().is_some_and(has_ended) && !is_overdue(pod))?;
    Some(Unfinished::Pod { name: left.name_any() })
}

/// Its node has not ended it in time, and is not waited for.
fn is_overdue(pod: &Pod) -> bool {
    let due = pod.metadata.deletion_timestamp.as_ref();
    due.is_some_and(|due| Timestamp::now().duration_since(due.0) > LOST)
}

/// Of the Job, and the hash of its template.
pub(super) fn names(job: &Prepared) -> (String, String) {
    let template = &job.object.data["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION];
    (job.object.name_any(), template.as_str().unwrap_or_default().to_owned())
}

/// Of the Job with this name and template, and when to look again.
pub(super) async fn told(
    context: &Context,
    owner: &InferenceDeployment,
    live: &Live,
    (name, template): (&str, &str),
) -> (Finding, Option<Duration>) {
    let job = context.children.job_of(owner, name);
    let logs = format!("see kubectl logs job/{name} --all-pods");
    if job.as_ref().is_some_and(Workload::is_done) {
        let message = format!("Job {name} has removed what the spec does not need: {logs}");
        return (Finding { holds: true, reason: Reason::CachePruned, message }, None);
    }
    let failure = job.as_ref().and_then(Workload::failure);
    let (cause, again) = live.cause(context, owner, Awaited::Job(Purpose::Prune, name, template)).await;
    let why = cause.map(|cause| cause.message);
    let finding = |reason, message| Finding { holds: false, reason, message };
    match (failure, why) {
        (Some(failure), why) => {
            let why = why.unwrap_or_else(|| failure.to_owned());
            let message =
                format!("Job {name} failed: {why}; {logs}; the Job is made anew when it is deleted");
            (finding(Reason::PruneFailed, message), None)
        }
        (None, Some(why)) => {
            let message = format!("Job {name} cannot remove what the spec does not need yet: {why}");
            (finding(Reason::Pruning, message), again)
        }
        (None, None) => {
            let message = format!("Job {name} removes from the cache what the spec does not need");
            (finding(Reason::Pruning, message), again)
        }
    }
}
