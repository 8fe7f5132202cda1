//! When an object's cache is pruned, and what is told of that.

use std::time::Duration;

use kube::ResourceExt;
use ostro_crds::{InferenceDeployment, Reason};

use super::Context;
use super::build::{Kept, Prepared, Purpose, TEMPLATE_HASH_ANNOTATION, prune_job, template_hash};
use super::live::{Awaited, Live};
use super::status::Finding;
use super::workload::Workload;

/// The Job, where it is there already or its time has come: all pods are of the template that is kept.
pub(super) fn due(context: &Context, owner: &InferenceDeployment, kept: &Kept) -> Option<Prepared> {
    let job = prune_job(owner, kept)?;
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
    if job.as_ref().is_some_and(Workload::is_done) {
        let message =
            format!("Job {name} has removed what the spec does not need: see kubectl logs job/{name}");
        return (Finding { holds: true, reason: Reason::CachePruned, message }, None);
    }
    let failure = job.as_ref().and_then(Workload::failure);
    let (cause, again) = live.cause(context, owner, Awaited::Job(Purpose::Prune, name, template)).await;
    let why = cause.map(|cause| cause.message);
    let finding = |reason, message| Finding { holds: false, reason, message };
    match (failure, why) {
        (Some(failure), why) => {
            let why = why.unwrap_or_else(|| failure.to_owned());
            let hint = format!("see kubectl logs job/{name}; the Job is made anew when it is deleted");
            (finding(Reason::PruneFailed, format!("Job {name} failed: {why}; {hint}")), None)
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
