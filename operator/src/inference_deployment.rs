//! Reconciles one `InferenceDeployment`: fetch, validate, build, apply, status.

pub(crate) mod apply;
pub(crate) mod build;
pub(crate) mod cached;
pub(crate) mod children;
pub(crate) mod claim_size;
pub(crate) mod classify;
pub(crate) mod comparison;
pub(crate) mod controller;
pub(crate) mod daemons;
mod events;
pub(crate) mod hold;
mod kinds;
mod lists;
mod live;
pub(crate) mod optional;
pub(crate) mod orphans;
mod outcome;
pub(crate) mod ownership;
mod prune;
mod refusal;
mod report;
mod revision;
pub(crate) mod status;
mod store;
mod superseded;
pub(crate) mod workload;
mod write;

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use ostro_config::{Problem, Problems};
use ostro_crds::{ConditionType, InferenceDeployment, InferenceDeploymentStatus};
use tracing::Instrument;

use crate::backoff::{Backoff, spread};
use crate::contests::Contests;
use crate::going::is_of_going_namespace;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::traces::TARGET;
use apply::ApplyError;
use build::{Defaults, image, render};
pub(crate) use cached::Version;
use children::Children;
use classify::{failed_model, or_of_model};
use daemons::{Daemons, PodModels};
use live::Live;
use outcome::{First, Outcome, carry_out, invalid};
pub(crate) use report::{Pace, Told};
use report::{Writing, burst, write_status};
use status::{Observed, is_same, is_same_but_for_words, keep_words, model_ids};

/// A missed event is made up for after this long, give or take.
const RESYNC: Duration = Duration::from_secs(600);
/// Where a node may be lost that something is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What every reconcile needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) children: Children,
    pub(crate) defaults: Defaults,
    /// Of warnings.
    pub(crate) recorder: Recorder,
    pub(crate) reporter: Reporter,
    pub(crate) told: Told,
    pub(crate) pace: Pace,
    pub(crate) metrics: Metrics,
    pub(crate) backoff: Backoff,
    pub(crate) contests: Contests,
    pub(crate) daemons: Daemons,
    pub(crate) readiness: Readiness,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// All else is as it should be, and is looked at again when it is due.
    #[error("the monitor is not as it should be")]
    Monitor { source: ApplyError, due: Duration },
    #[error("cannot write the status")]
    Status(#[source] kube::Error),
    #[error("the watches have ended")]
    Stopping,
    #[error("a defect of the operator, which please report: {0}")]
    Panicked(String),
}

impl ReconcileError {
    /// The metric's label.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            ReconcileError::Apply(_) | ReconcileError::Monitor { .. } => "apply",
            ReconcileError::Status(_) => "status",
            ReconcileError::Stopping => "stopping",
            ReconcileError::Panicked(_) => "panic",
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
    let mut version = owner.resource_version().unwrap_or_default();
    let burst = burst(owner.spec.replicas);
    if owner.status.as_ref().is_none_or(|status| status.conditions.is_empty()) {
        // An object without conditions would count as ready.
        let live = Live::read(context, owner, None);
        let outcome = Outcome { is_behind: true, ..Outcome::default() };
        let status = observe(owner, context, outcome, (&live, &[]));
        // The one that follows must not wait for this one.
        match write_status(owner, context, (&status, &version, burst - 1)).await? {
            Writing::Done { version: written } => version = written,
            Writing::Outdated => return Ok(Action::requeue(resync(owner))),
            Writing::Later(_) => {}
        }
    }
    let rendered = match unreadable {
        Some(problem) => Err(Problems(vec![problem.clone()])),
        None => owner.spec.validate().and_then(|valid| render(owner, &valid, &context.defaults)),
    };
    let (mut outcome, failed) = match rendered {
        Err(problems) => (Outcome::of(invalid(&problems)), None),
        Ok(rendered) => carry_out(owner, context, rendered).await,
    };
    let unmonitored = outcome.unmonitored.take();
    if failed.iter().chain(&unmonitored).any(|error| is_of_going_namespace(error)) {
        // Which takes the object along.
        return Ok(Action::requeue(resync(owner)));
    }
    let (mut status, mut due) = judge(owner, context, outcome).await;
    // What is refused in other words every time, as by a webhook that counts, would be news for ever.
    let is_early = context.backoff.is_early(&owner.uid().unwrap_or_default());
    if is_early && unmonitored.is_some() {
        keep_words(owner, &mut status, ConditionType::Monitored);
    }
    let is_known =
        is_same(owner, &status) || (is_early && failed.is_some() && is_same_but_for_words(owner, &status));
    if !is_known
        && let Writing::Later(wait) = write_status(owner, context, (&status, &version, burst)).await?
    {
        due = due.min(wait);
    }
    match (failed, unmonitored) {
        (Some(error), _) => Err(error.into()),
        (None, Some(source)) => Err(ReconcileError::Monitor { source, due }),
        (None, None) => Ok(Action::requeue(due)),
    }
}

/// The status of what was carried out, and when to look again.
async fn judge(
    owner: &InferenceDeployment,
    context: &Context,
    mut outcome: Outcome,
) -> (InferenceDeploymentStatus, Duration) {
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
    if let Some(First::Prune { .. } | First::Collect { .. }) = outcome.first {
        again = again.min(LOOK_AGAIN);
    }
    if let Some((name, template)) = outcome.prune.take() {
        let (pruned, due) = prune::told(context, owner, &live, (&name, &template)).await;
        outcome.pruned = Some(pruned);
        again = due.map_or(again, |due| again.min(due));
    }
    (observe(owner, context, outcome, (&live, &look.pods)), again)
}

/// Not all objects at the same moment.
fn resync(owner: &InferenceDeployment) -> Duration {
    RESYNC + Duration::from_secs(spread(&owner.uid().unwrap_or_default()).into())
}

fn observe(
    owner: &InferenceDeployment,
    context: &Context,
    Outcome { first, pruned, is_behind, cause, monitored, held, .. }: Outcome,
    (live, pods): (&Live, &[PodModels]),
) -> InferenceDeploymentStatus {
    let workload = live.workload.as_ref();
    // That of the pods, which may be held.
    let running = workload.and_then(|workload| image(&workload.spec.template));
    let wanted = owner.spec.image.as_deref().unwrap_or(&context.defaults.image);
    let image = running.unwrap_or(wanted).to_owned();
    let now = Timestamp::now();
    Observed { owner, workload, is_behind, first, pods, cause, monitored, pruned, held, image, now }.status()
}
