//! What is carried out of an object's spec, and what became of it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ostro_config::Problems;
use ostro_crds::{InferenceDeployment, InferenceDeploymentSpec, Reason};
use tracing::Instrument;

use super::apply::{self, Applied, ApplyError};
use super::build::{ChildKind, History, Kept, Prefetch, Prepared, Purpose, Rendering, build, monitor_kind};
use super::classify::Cause;
use super::hold::{self, Held};
use super::live::Awaited;
use super::orphans::Whose;
use super::prune::Unfinished;
use super::status::{self, Finding};
use super::workload::Workload;
use super::{Context, orphans, prune, superseded};
use crate::in_words::in_words;
use crate::traces::TARGET;

/// What the API server says of a claim that stays as it is, and what to do then.
const CLAIMS: [(&str, &str); 3] = [
    ("spec is immutable", FIXED_CLAIM),
    ("pvc can be resized", FIXED_CLAIM),
    // By OwnerReferencesPermissionEnforcement, of a claim that nobody owns any more.
    ("cannot set an ownerRef", UNOWNED_CLAIM),
];
const FIXED_CLAIM: &str = "take the change of spec.cache.volume back, or delete the claim with what it holds, and then the \
     object's pods, which keep it: it is made anew";
const UNOWNED_CLAIM: &str = "nobody owns the claim, and the operator, which may delete none, cannot make it the \
     object's: name it in spec.cache.existingClaim in place of volume, without prune; it stays when the object goes";

/// In which the garbage collector takes what a deleted object left: pods that end keep their claims.
const COLLECTION_LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// What became of an object's spec.
#[derive(Default)]
pub(super) struct Outcome {
    /// That makes the pods, once it is applied.
    pub(super) workload: Option<ChildKind>,
    /// Of which it makes them.
    pub(super) template: Option<String>,
    pub(super) first: Option<First>,
    /// That removes from the cache what pods do not need, and the hash of its template.
    pub(super) prune: Option<(String, String)>,
    /// How the pruning goes.
    pub(super) pruned: Option<Finding>,
    /// No watch has shown it yet as it was applied.
    pub(super) is_behind: bool,
    /// Why nothing could be applied; then, why pods do not get ready.
    pub(super) cause: Option<Cause>,
    pub(super) monitored: Option<Finding>,
    /// Why a monitor is not as it should be.
    pub(super) unmonitored: Option<ApplyError>,
    /// What is not rolled out until it is released.
    pub(super) held: Held,
}

/// What must end before pods of the spec are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Downloads their models.
    Download { job: String, template_hash: String },
    /// Removes from the cache what pods of before do not need, and was told to end.
    Prune { by: String },
    /// What a deleted object of the same name leaves to the garbage collector.
    Collect { what: String },
}

impl Outcome {
    /// Where nothing is applied.
    pub(super) fn of(cause: Cause) -> Outcome {
        Outcome { cause: Some(cause), ..Outcome::default() }
    }

    pub(super) fn awaited(&self) -> Option<Awaited<'_>> {
        match &self.first {
            Some(First::Download { job, template_hash }) => {
                Some(Awaited::Job(Purpose::Prefetch, job, template_hash))
            }
            _ => Some(Awaited::Pods(self.workload?, self.template.as_deref())),
        }
    }
}

/// Applies what is to exist now.
pub(super) async fn carry_out(
    owner: &InferenceDeployment,
    context: &Context,
    rendered: Rendering,
) -> (Outcome, Option<ApplyError>) {
    let failed = |error: ApplyError, held| {
        let outcome = Outcome { held, ..Outcome::of(refused(&error)) };
        (outcome, Some(error))
    };
    let history = match hold::fetch::fetch_history(context, owner, &rendered).await {
        Ok(history) => history,
        Err(error) => return failed(error, Held::Unknown),
    };
    let hold::Plan { kept, pending } = hold::plan(owner, &history, rendered);
    let (workload, held) = (kept.rendering.workload(), Held::of(pending));
    let template = kept.rendering.template_hash().map(str::to_owned);
    if hold::changes_claims(&history, &kept)
        && Workload::find(&context.children, owner, Some(workload)).is_some()
    {
        return (Outcome::of(invalid(&InferenceDeploymentSpec::fixed_claims())), None);
    }
    let is_new = history.kept() != Some(&kept);
    if is_new {
        match end_pruning(context, owner, &kept).await {
            Ok(None) => {}
            Ok(first) => return (Outcome { first, is_behind: true, held, ..Outcome::default() }, None),
            Err(error) => return failed(error, held),
        }
    }
    let Wanted { prepared, first, prune } = wanted(context, owner, (&history, &kept));
    let applying = apply::apply(context, owner, &prepared);
    let span = tracing::info_span!(target: TARGET, "apply", objects = prepared.len());
    let (mut applied, result) = applying.instrument(span).await;
    count_writes(context, &applied);
    match result {
        Ok(()) => {
            if let Some(error) = applied.left.take() {
                return failed(error, held);
            }
            let monitored = monitored(owner, &applied);
            let unmonitored = applied.monitor.take();
            let is_behind = applied.is_workload_behind || first.is_some();
            let workload = first.is_none().then_some(workload);
            let outcome = Outcome {
                workload,
                template,
                first,
                prune,
                is_behind,
                monitored,
                unmonitored,
                held,
                ..Outcome::default()
            };
            (outcome, None)
        }
        Err(error @ ApplyError::Predecessors { .. }) if is_young(owner) => {
            let first = Some(First::Collect { what: error.to_string() });
            (Outcome { first, is_behind: true, held, ..Outcome::default() }, None)
        }
        // Pods of before go on as they are; what is downloaded may be the way out.
        Err(error) if first.is_some() && error.is_of_workload() => {
            tracing::warn!("pods of before cannot be applied: {}", in_words(&error));
            (Outcome { first, template, is_behind: true, held, ..Outcome::default() }, None)
        }
        Err(error) => failed(error, held),
    }
}

/// Later it is told that garbage is not collected.
fn is_young(owner: &InferenceDeployment) -> bool {
    let created = owner.metadata.creation_timestamp.as_ref().map(|Time(created)| *created);
    created.is_none_or(|created| Timestamp::now().duration_since(created) < COLLECTION_LIMIT)
}

/// Tells a Job that prunes for pods of another template to end; `None` where there is none that goes on.
async fn end_pruning(
    context: &Context,
    owner: &InferenceDeployment,
    kept: &Kept,
) -> Result<Option<First>, ApplyError> {
    let by = match prune::unfinished(context, owner, kept) {
        None => return Ok(None),
        Some(Unfinished::Pod { name }) => format!("pod {name}"),
        Some(Unfinished::Job { name, is_going }) => {
            if !is_going {
                let job = (ChildKind::Job, name.clone());
                let is_deleted = orphans::delete(&context.client, owner, job, Whose::Own).await?;
                count_writes(context, &Applied { deleted: is_deleted.into(), ..Applied::default() });
            }
            format!("Job {name}")
        }
    };
    Ok(Some(First::Prune { by }))
}

/// What is to exist now.
struct Wanted {
    prepared: Vec<Prepared>,
    first: Option<First>,
    /// That removes what they do not need.
    prune: Option<(String, String)>,
}

fn wanted(context: &Context, owner: &InferenceDeployment, (history, kept): (&History, &Kept)) -> Wanted {
    let mut wanted = match prefetch_of(context, owner, (history, kept)) {
        Some(Prefetch { prepared, name, template_hash }) => {
            let first = Some(First::Download { job: name, template_hash });
            Wanted { prepared, first, prune: None }
        }
        None => {
            let mut prepared = build(owner, kept);
            let prune = prune::due(context, owner, kept);
            let names = prune.as_ref().map(prune::names);
            prepared.extend(prune);
            Wanted { prepared, first: None, prune: names }
        }
    };
    superseded::let_in(&context.children, owner, &mut wanted.prepared);
    wanted
}

/// The download that pods of what is kept wait for; none once it is done.
fn prefetch_of(
    context: &Context,
    owner: &InferenceDeployment,
    (history, kept): (&History, &Kept),
) -> Option<Prefetch> {
    let prefetch = Prefetch::before(owner, history.kept(), kept)?;
    let job = context.children.job_of(owner, &prefetch.name);
    let is_done = job.is_some_and(|job| job.is_done());
    (!is_done).then_some(prefetch)
}

fn count_writes(context: &Context, applied: &Applied) {
    let writes = applied.written + applied.deleted;
    context.metrics.writes.inc_by(writes as u64);
    if writes > 0 {
        tracing::info!(written = applied.written, deleted = applied.deleted, "applied");
    }
}

fn monitored(owner: &InferenceDeployment, applied: &Applied) -> Option<Finding> {
    let wanted = monitor_kind(&owner.spec);
    let lacking = applied.lacking.iter().find(|(lacking, _)| Some(*lacking) == wanted);
    // One of before may not go.
    let (kind, lack) = lacking.or(applied.lacking.first()).map(|(kind, lack)| (*kind, lack)).unzip();
    Some(status::monitored(kind.or(wanted)?, lack))
}

pub(super) fn invalid(problems: &Problems) -> Cause {
    Cause { reason: Reason::InvalidConfig, message: problems.to_string() }
}

pub(super) fn refused(error: &ApplyError) -> Cause {
    let reason = if error.is_of_the_spec() { Reason::InvalidConfig } else { Reason::ApplyFailed };
    let mut message = in_words(error);
    let is_of_claim = matches!(error, ApplyError::Apply { kind: ChildKind::PersistentVolumeClaim, .. });
    let hint = CLAIMS.iter().find(|(words, _)| is_of_claim && message.contains(words));
    if let Some((_, hint)) = hint {
        message = format!("{message}; {hint}");
    }
    Cause { reason, message }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused_claim(code: u16, message: String) -> Cause {
        let status = Status { message, code, ..Default::default() };
        let source = kube::Error::Api(status.boxed());
        let (kind, name) = (ChildKind::PersistentVolumeClaim, "m-cache".to_owned());
        refused(&ApplyError::Apply { kind, name, source })
    }

    #[test]
    fn a_claim_that_cannot_change_is_told_in_one_line_with_the_field() {
        let told = "PersistentVolumeClaim \"m-cache\" is invalid: spec: Forbidden: spec is immutable after \
                    creation except resources.requests and volumeAttributesClassName for bound claims";
        let message = format!("{told}\n@@ -10,7 +10,7 @@\n \"Requests\": {{\n-   \"storage\": \"1Gi\"\n");
        let cause = refused_claim(422, message);
        let expected = format!("cannot apply PersistentVolumeClaim m-cache: {told}; {FIXED_CLAIM}");
        assert_eq!((cause.reason, cause.message), (Reason::InvalidConfig, expected));
    }

    #[test]
    fn a_claim_that_cannot_grow_is_told_with_what_to_do() {
        let told = "persistentvolumeclaims \"m-cache\" is forbidden: only dynamically provisioned pvc can be resized \
                    and the storageclass that provisions the pvc must support resize";
        let cause = refused_claim(403, told.to_owned());
        let expected = format!("cannot apply PersistentVolumeClaim m-cache: {told}; {FIXED_CLAIM}");
        assert_eq!((cause.reason, cause.message), (Reason::ApplyFailed, expected));
    }
}
