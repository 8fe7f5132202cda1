//! When an object's cache is pruned, and what is told of that.

use kube::ResourceExt;
use ostro_crds::{InferenceDeployment, Reason};

use super::Context;
use super::build::{Kept, Prepared, prune_job, template_hash};
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

/// Of the Job of this name.
pub(super) fn told(context: &Context, owner: &InferenceDeployment, name: &str) -> Finding {
    let job = context.children.job_of(owner, name);
    let finding = |holds, reason, message| Finding { holds, reason, message };
    match job {
        Some(job) if job.is_done() => {
            let message =
                format!("Job {name} has removed what the spec does not need: see kubectl logs job/{name}");
            finding(true, Reason::CachePruned, message)
        }
        Some(job) if job.failure().is_some() => {
            let why = job.failure().unwrap_or_default();
            let message = format!(
                "Job {name} failed: {why}; see kubectl logs job/{name}; it is made anew when it is deleted"
            );
            finding(false, Reason::PruneFailed, message)
        }
        _ => finding(
            false,
            Reason::Pruning,
            format!("Job {name} removes from the cache what the spec does not need"),
        ),
    }
}
