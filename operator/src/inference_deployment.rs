//! Reconciles one `InferenceDeployment`: fetch, validate, build, apply, status.

pub(crate) mod apply;
pub(crate) mod build;
mod cached;
pub(crate) mod children;
pub(crate) mod classify;
pub(crate) mod controller;
pub(crate) mod daemons;
pub(crate) mod hold;
pub(crate) mod optional;
mod refusal;
pub(crate) mod status;
pub(crate) mod workload;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource, ResourceExt};
use ostro_config::Problems;
use ostro_crds::{InferenceDeployment, InferenceDeploymentSpec, InferenceDeploymentStatus, Reason};
use serde_json::json;

use crate::backoff::{Backoff, spread};
use crate::metrics::Metrics;
use apply::{Applied, ApplyError, MANAGER};
use build::{ChildKind, Defaults, Rendering, build, image, monitor_kind, render, startup_budget_seconds};
use children::Children;
use classify::{Cause, Signals, claim_name, classify};
use daemons::{Daemons, Look, PodModels};
use hold::Pending;
use status::{Monitored, Observed, is_same, model_ids, transitions};
use workload::Workload;

/// A missed event is made up for after this long, give or take.
const RESYNC: Duration = Duration::from_secs(600);

/// What every reconcile needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) children: Children,
    pub(crate) defaults: Defaults,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) backoff: Backoff,
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

pub(crate) async fn reconcile(
    owner: Arc<InferenceDeployment>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    // After a restart nothing is written again for want of knowing.
    context.children.wait_until_ready().await.map_err(|_| ReconcileError::Stopping)?;
    if owner.meta().deletion_timestamp.is_some() {
        // Everything lies in its namespace and goes with it.
        return Ok(Action::await_change());
    }
    if owner.status.is_none() {
        // An object without conditions would count as ready.
        write_status(&owner, &context, &observe(&owner, &context, Seen::default(), &[])).await?;
    }
    let rendered = owner.spec.validate().and_then(|valid| render(&owner, &valid, &context.defaults));
    let (seen, failed) = match rendered {
        Err(problems) => (Seen { cause: Some(invalid(&problems)), ..Seen::default() }, None),
        Ok(rendered) => carry_out(&owner, &context, rendered).await,
    };
    let look = look(&owner, &context, seen.pending.as_ref()).await;
    let again = seen.again.into_iter().chain(look.again).fold(resync(&owner), Duration::min);
    let status = observe(&owner, &context, seen, &look.pods);
    if !is_same(&owner, &status) {
        write_status(&owner, &context, &status).await?;
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
) -> (Seen, Option<ApplyError>) {
    let failed = |error: ApplyError, pending| {
        let seen = Seen { cause: Some(refused(&error)), pending, ..Seen::default() };
        (seen, Some(error))
    };
    let history = match hold::fetch::fetch_history(context, owner, &rendered).await {
        Ok(history) => history,
        Err(error) => return failed(error, None),
    };
    let plan = hold::plan(owner, &history, rendered);
    let workload = plan.kept.rendering.workload();
    if hold::changes_claims(&history, &plan.kept)
        && Workload::find(&context.children, owner, Some(workload)).is_some()
    {
        let cause = invalid(&InferenceDeploymentSpec::fixed_claims());
        return (Seen { cause: Some(cause), ..Seen::default() }, None);
    }
    let prepared = build(owner, &plan.kept);
    match apply::apply(&context.client, &context.children, owner, &prepared).await {
        Ok(applied) => {
            let seen = record(owner, context, (workload, &applied)).await;
            (Seen { pending: plan.pending, ..seen }, None)
        }
        Err(error) => failed(error, plan.pending),
    }
}

/// Not all objects at the same moment.
fn resync(owner: &InferenceDeployment) -> Duration {
    RESYNC + Duration::from_secs(spread(&owner.uid().unwrap_or_default()).into())
}

/// What a reconcile learned, beside the workload's own status.
#[derive(Default)]
struct Seen {
    /// That makes the pods, once it is applied.
    workload: Option<ChildKind>,
    cause: Option<Cause>,
    monitored: Option<Monitored>,
    /// What is not rolled out until it is released.
    pending: Option<Pending>,
    /// When to look again, though no watch may tell of anything.
    again: Option<Duration>,
}

async fn record(
    owner: &InferenceDeployment,
    context: &Context,
    (kind, applied): (ChildKind, &Applied),
) -> Seen {
    let writes = applied.written + applied.deleted;
    context.metrics.writes.inc_by(writes as u64);
    if writes > 0 {
        tracing::info!(written = applied.written, deleted = applied.deleted, "applied");
    }
    let workload = Workload::find(&context.children, owner, Some(kind));
    let pods = context.children.pods_of(owner);
    let pods: Vec<_> = pods.iter().collect();
    let names: BTreeSet<&str> = pods.iter().filter_map(|pod| claim_name(pod)).collect();
    let claims = names
        .into_iter()
        .filter_map(|name| context.children.typed(ChildKind::PersistentVolumeClaim, owner, name));
    let claims: Vec<PersistentVolumeClaim> = claims.collect();
    let budget = |workload: &Workload| startup_budget_seconds(&workload.spec.template);
    let (refusal, again) = refusal(owner, context, (kind, workload.as_ref()), &pods).await;
    let cause = classify(&Signals {
        pods: &pods,
        refusal: refusal.as_deref(),
        claims: &claims,
        startup_budget_seconds: workload.as_ref().map_or(0, budget).into(),
    });
    let monitored = monitor_kind(&owner.spec).map(|kind| {
        let lacking = applied.lacking.iter().find(|(lacking, _)| *lacking == kind);
        Monitored::of(kind, lacking.map(|(_, lack)| lack))
    });
    Seen { workload: Some(kind), cause, monitored, pending: None, again }
}

/// Why the API server lets no pods be made, and when that should be asked again.
async fn refusal(
    owner: &InferenceDeployment,
    context: &Context,
    (kind, workload): (ChildKind, Option<&Workload>),
    pods: &[&Pod],
) -> (Option<String>, Option<Duration>) {
    match workload {
        Some(workload) if kind == ChildKind::Deployment => (refusal::of_status(workload), None),
        Some(workload) if refusal::lacks_pods(workload) => {
            let (namespace, name) = (owner.namespace().unwrap_or_default(), owner.name_any());
            let told = refusal::fetch(&context.client, (&namespace, &name), pods).await;
            (told, Some(refusal::AGAIN))
        }
        _ => (None, None),
    }
}

/// What the pods' daemons say of the models.
async fn look(owner: &InferenceDeployment, context: &Context, pending: Option<&Pending>) -> Look {
    let pods = context.children.pods_of(owner);
    let uid = owner.uid().unwrap_or_default();
    context.daemons.look(&uid, &model_ids(owner, pending), &pods).await
}

fn invalid(problems: &Problems) -> Cause {
    Cause { reason: Reason::InvalidConfig, message: problems.to_string() }
}

fn refused(error: &ApplyError) -> Cause {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        message.push_str(&format!(": {error}"));
        source = error.source();
    }
    Cause { reason: Reason::ApplyFailed, message }
}

fn observe(
    owner: &InferenceDeployment,
    context: &Context,
    Seen { workload, cause, monitored, pending, again: _ }: Seen,
    pods: &[PodModels],
) -> InferenceDeploymentStatus {
    let workload = Workload::find(&context.children, owner, workload);
    // That of the pods, which may be held.
    let running = workload.as_ref().and_then(|workload| image(&workload.spec.template));
    let wanted = owner.spec.image.as_deref().unwrap_or(&context.defaults.image);
    let image = running.unwrap_or(wanted).to_owned();
    let (workload, now) = (workload.as_ref(), Timestamp::now());
    Observed { owner, workload, pods, cause, monitored, pending, image, now }.status()
}

async fn write_status(
    owner: &InferenceDeployment,
    context: &Context,
    status: &InferenceDeploymentStatus,
) -> Result<(), ReconcileError> {
    let api: Api<InferenceDeployment> =
        Api::namespaced(context.client.clone(), &owner.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": InferenceDeployment::api_version(&()),
        "kind": InferenceDeployment::kind(&()),
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    match api.patch_status(&owner.name_any(), &parameters, &Patch::Apply(&patch)).await {
        Ok(_) => {}
        // It was deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(ReconcileError::Status(error)),
    }
    context.metrics.writes.inc();
    for condition in transitions(owner, status) {
        tell(owner, context, condition).await;
    }
    Ok(())
}

async fn tell(owner: &InferenceDeployment, context: &Context, condition: &Condition) {
    let is_good = condition.status == "True" || condition.reason == Reason::RollingOut.as_str();
    let event = Event {
        type_: if is_good { EventType::Normal } else { EventType::Warning },
        reason: condition.reason.clone(),
        note: Some(condition.message.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // The status has it too.
    if let Err(error) = context.recorder.publish(&event, &owner.object_ref(&())).await {
        tracing::warn!(%error, "cannot publish an event");
    }
}
