//! Reconciles one `InferenceDeployment`: fetch, validate, build, apply, status.

pub(crate) mod apply;
pub(crate) mod build;
mod cached;
pub(crate) mod children;
pub(crate) mod classify;
pub(crate) mod comparison;
pub(crate) mod controller;
pub(crate) mod daemons;
mod events;
pub(crate) mod hold;
mod live;
pub(crate) mod optional;
mod prune;
mod refusal;
mod report;
pub(crate) mod status;
mod store;
mod superseded;
pub(crate) mod workload;

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use ostro_config::{Problem, Problems};
use ostro_crds::{InferenceDeployment, InferenceDeploymentSpec, InferenceDeploymentStatus, Reason};
use tracing::Instrument;

use crate::backoff::{Backoff, spread};
use crate::contests::Contests;
use crate::in_words::in_words;
use crate::metrics::Metrics;
use crate::traces::TARGET;
use apply::{Applied, ApplyError};
use build::{
    ChildKind, Defaults, History, Kept, Prefetch, Prepared, Rendering, build, image, monitor_kind, render,
};
pub(crate) use cached::Version;
use children::Children;
use classify::{Cause, failed_model, or_of_model};
use daemons::{Daemons, PodModels};
use hold::Held;
use live::{Awaited, Live};
use report::write_status;
use status::{Finding, Observed, is_same, is_same_but_for_words, model_ids};
use workload::Workload;

/// A missed event is made up for after this long, give or take.
const RESYNC: Duration = Duration::from_secs(600);

/// What every reconcile needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) children: Children,
    pub(crate) defaults: Defaults,
    /// Of warnings.
    pub(crate) recorder: Recorder,
    pub(crate) reporter: Reporter,
    pub(crate) metrics: Metrics,
    pub(crate) backoff: Backoff,
    pub(crate) contests: Contests,
    pub(crate) daemons: Daemons,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot write the status")]
    Status(#[source] kube::Error),
    #[error("the watches have ended")]
    Stopping,
}

impl ReconcileError {
    /// The metric's label.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            ReconcileError::Apply(_) => "apply",
            ReconcileError::Status(_) => "status",
            ReconcileError::Stopping => "stopping",
        }
    }
}

/// `unreadable` tells that the object's spec is not the one that was applied.
pub(crate) async fn reconcile(
    owner: &InferenceDeployment,
    unreadable: Option<&Problem>,
    context: &Context,
) -> Result<Action, ReconcileError> {
    // After a restart nothing is written again for want of knowing.
    context.children.wait_until_ready().await.map_err(|_| ReconcileError::Stopping)?;
    if owner.meta().deletion_timestamp.is_some() {
        // Everything lies in its namespace and goes with it.
        return Ok(Action::await_change());
    }
    if owner.status.is_none() {
        // An object without conditions would count as ready.
        let live = Live::read(context, owner, None);
        let status = observe(owner, context, Outcome::default(), (&live, &[]));
        write_status(owner, context, &status).await?;
    }
    let rendered = match unreadable {
        Some(problem) => Err(Problems(vec![problem.clone()])),
        None => owner.spec.validate().and_then(|valid| render(owner, &valid, &context.defaults)),
    };
    let (mut outcome, failed) = match rendered {
        Err(problems) => (Outcome { cause: Some(invalid(&problems)), ..Outcome::default() }, None),
        Ok(rendered) => carry_out(owner, context, rendered).await,
    };
    let live = Live::read(context, owner, outcome.workload);
    let mut again = resync(owner);
    if let Some(awaited) = outcome.awaited() {
        let (cause, due) = live.cause(context, owner, awaited).await;
        outcome.cause = cause;
        again = due.map_or(again, |due| again.min(due));
    }
    let ids = model_ids(owner, &outcome.held);
    let uid = owner.uid().unwrap_or_default();
    let look = context.daemons.look(&uid, &ids, live.all_pods());
    let look = look.instrument(tracing::info_span!(target: TARGET, "ask daemons")).await;
    again = look.again.map_or(again, |due| again.min(due));
    if outcome.workload.is_some() {
        let failed = failed_model(&look.pods, outcome.template.as_deref());
        outcome.cause = or_of_model(outcome.cause, failed);
    }
    let status = observe(owner, context, outcome, (&live, &look.pods));
    // What is refused in other words every time, as by a webhook that counts, would be news for ever.
    let is_early = failed.is_some() && context.backoff.is_early(&owner.uid().unwrap_or_default());
    let is_known = is_same(owner, &status) || (is_early && is_same_but_for_words(owner, &status));
    if !is_known {
        write_status(owner, context, &status).await?;
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Action::requeue(again)),
    }
}

async fn carry_out(
    owner: &InferenceDeployment,
    context: &Context,
    rendered: Rendering,
) -> (Outcome, Option<ApplyError>) {
    let failed = |error: ApplyError, held| {
        let outcome = Outcome { cause: Some(refused(&error)), held, ..Outcome::default() };
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
        let cause = invalid(&InferenceDeploymentSpec::fixed_claims());
        return (Outcome { cause: Some(cause), held: Held::Unknown, ..Outcome::default() }, None);
    }
    let Wanted { prepared, job, prune } = wanted(context, owner, (&history, &kept));
    let applying = apply::apply(context, owner, &prepared);
    match applying.instrument(tracing::info_span!(target: TARGET, "apply", objects = prepared.len())).await {
        Ok(mut applied) => {
            count_writes(context, &applied);
            if let Some(error) = applied.contested.take() {
                return failed(error, held);
            }
            let monitored = monitored(owner, &applied);
            let is_behind = applied.is_workload_behind || job.is_some();
            let workload = job.is_none().then_some(workload);
            (Outcome { workload, template, job, prune, is_behind, cause: None, monitored, held }, None)
        }
        // Pods of before go on as they are; what is downloaded may be the way out.
        Err(error) if job.is_some() && error.is_of_workload() => {
            tracing::warn!("pods of before cannot be applied: {}", in_words(&error));
            (Outcome { job, template, is_behind: true, held, ..Outcome::default() }, None)
        }
        Err(error) => failed(error, held),
    }
}

/// What is to exist now.
struct Wanted {
    prepared: Vec<Prepared>,
    /// That downloads models before pods start, and the hash of its template.
    job: Option<(String, String)>,
    /// That removes what they do not need.
    prune: Option<String>,
}

fn wanted(context: &Context, owner: &InferenceDeployment, (history, kept): (&History, &Kept)) -> Wanted {
    if let Some(Prefetch { prepared, name, template_hash }) = prefetch_of(context, owner, (history, kept)) {
        return Wanted { prepared, job: Some((name, template_hash)), prune: None };
    }
    let mut prepared = build(owner, kept);
    let prune = prune::due(context, owner, kept);
    let name = prune.as_ref().map(|job| job.object.name_any());
    prepared.extend(prune);
    Wanted { prepared, job: None, prune: name }
}

/// The download that pods of what is kept wait for; none once it is done.
fn prefetch_of(
    context: &Context,
    owner: &InferenceDeployment,
    (history, kept): (&History, &Kept),
) -> Option<Prefetch> {
    let before = history.newest.as_ref().and_then(|newest| newest.as_ref().ok());
    let prefetch = Prefetch::before(owner, before, kept)?;
    let job = context.children.job_of(owner, &prefetch.name);
    let is_done = job.is_some_and(|job| job.is_done());
    (!is_done).then_some(prefetch)
}

/// Not all objects at the same moment.
fn resync(owner: &InferenceDeployment) -> Duration {
    RESYNC + Duration::from_secs(spread(&owner.uid().unwrap_or_default()).into())
}

/// What became of an object's spec.
#[derive(Default)]
struct Outcome {
    /// That makes the pods, once it is applied.
    workload: Option<ChildKind>,
    /// Of which it makes them.
    template: Option<String>,
    /// That downloads models before, and the hash of its template.
    job: Option<(String, String)>,
    /// That removes from the cache what pods do not need.
    prune: Option<String>,
    /// No watch has shown it yet as it was applied.
    is_behind: bool,
    /// Why nothing could be applied; then, why pods do not get ready.
    cause: Option<Cause>,
    monitored: Option<Finding>,
    /// What is not rolled out until it is released.
    held: Held,
}

impl Outcome {
    fn awaited(&self) -> Option<Awaited<'_>> {
        let job = self.job.as_ref().map(|(name, template)| Awaited::Job(name, template));
        job.or_else(|| Some(Awaited::Pods(self.workload?, self.template.as_deref())))
    }
}

fn count_writes(context: &Context, applied: &Applied) {
    let writes = applied.written + applied.deleted;
    context.metrics.writes.inc_by(writes as u64);
    if writes > 0 {
        tracing::info!(written = applied.written, deleted = applied.deleted, "applied");
    }
}

fn monitored(owner: &InferenceDeployment, applied: &Applied) -> Option<Finding> {
    let kind = monitor_kind(&owner.spec)?;
    let lacking = applied.lacking.iter().find(|(lacking, _)| *lacking == kind);
    Some(status::monitored(kind, lacking.map(|(_, lack)| lack)))
}

fn invalid(problems: &Problems) -> Cause {
    Cause { reason: Reason::InvalidConfig, message: problems.to_string() }
}

fn refused(error: &ApplyError) -> Cause {
    let reason = if error.is_of_the_spec() { Reason::InvalidConfig } else { Reason::ApplyFailed };
    Cause { reason, message: in_words(error) }
}

fn observe(
    owner: &InferenceDeployment,
    context: &Context,
    Outcome { workload: _, template: _, job, prune, is_behind, cause, monitored, held }: Outcome,
    (live, pods): (&Live, &[PodModels]),
) -> InferenceDeploymentStatus {
    let workload = live.workload.as_ref();
    // That of the pods, which may be held.
    let running = workload.and_then(|workload| image(&workload.spec.template));
    let wanted = owner.spec.image.as_deref().unwrap_or(&context.defaults.image);
    let image = running.unwrap_or(wanted).to_owned();
    let now = Timestamp::now();
    let job = job.map(|(name, _)| name);
    let pruned = prune.map(|name| prune::told(context, owner, &name));
    Observed { owner, workload, is_behind, job, pods, cause, monitored, pruned, held, image, now }.status()
}
