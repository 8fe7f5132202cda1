//! Reconciles one `InferenceDeployment`: fetch, validate, build, apply, status.

pub(crate) mod apply;
pub(crate) mod build;
pub(crate) mod children;
pub(crate) mod classify;
pub(crate) mod controller;
pub(crate) mod hold;
pub(crate) mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource, ResourceExt};
use ostro_config::Problems;
use ostro_crds::{InferenceDeployment, InferenceDeploymentStatus, Reason};
use serde_json::json;

use crate::backoff::{Backoff, spread};
use crate::metrics::Metrics;
use apply::{Applied, ApplyError, MANAGER};
use build::{ChildKind, Defaults, Names, Rendering, build, image, render, startup_budget_seconds};
use children::Children;
use classify::{Cause, Signals, classify};
use hold::Pending;
use status::{Observed, is_same, transition};

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
        write_status(&owner, &context, &observe(&owner, &context, Outcome::default())).await?;
    }
    let rendered = owner.spec.validate().and_then(|valid| render(&owner, &valid, &context.defaults));
    let (outcome, failed) = match rendered {
        Err(problems) => (Outcome { cause: Some(invalid(&problems)), pending: None }, None),
        Ok(rendered) => carry_out(&owner, &context, rendered).await,
    };
    let status = observe(&owner, &context, outcome);
    if !is_same(&owner, &status) {
        write_status(&owner, &context, &status).await?;
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Action::requeue(resync(&owner))),
    }
}

/// What a reconcile tells beside the Deployment's own counts.
#[derive(Default)]
struct Outcome {
    cause: Option<Cause>,
    pending: Option<Pending>,
}

async fn carry_out(
    owner: &InferenceDeployment,
    context: &Context,
    rendered: Rendering,
) -> (Outcome, Option<ApplyError>) {
    let history = match hold::fetch::fetch_history(context, owner, &rendered).await {
        Ok(history) => history,
        Err(error) => return (Outcome { cause: Some(refused(&error)), pending: None }, Some(error)),
    };
    let plan = hold::plan(owner, &history, rendered);
    let prepared = build(owner, &plan.kept);
    let (cause, failed) = match apply::apply(&context.client, &context.children, owner, &prepared).await {
        Ok(applied) => (record(owner, context, applied), None),
        Err(error) => (Some(refused(&error)), Some(error)),
    };
    (Outcome { cause, pending: plan.pending }, failed)
}

/// Not all objects at the same moment.
fn resync(owner: &InferenceDeployment) -> Duration {
    RESYNC + Duration::from_secs(spread(&owner.uid().unwrap_or_default()).into())
}

fn record(owner: &InferenceDeployment, context: &Context, applied: Applied) -> Option<Cause> {
    context.metrics.writes.inc_by((applied.written + applied.deleted) as u64);
    if applied != Applied::default() {
        tracing::info!(written = applied.written, deleted = applied.deleted, "applied");
    }
    let deployment = deployment(owner, context);
    let pods = context.children.pods_of(owner);
    let pods: Vec<_> = pods.iter().map(AsRef::as_ref).collect();
    let names = Names::of(owner);
    let claim = context.children.typed(ChildKind::PersistentVolumeClaim, owner, &names.claim());
    let budget = |deployment: &Deployment| startup_budget_seconds(&deployment.spec.template);
    classify(&Signals {
        pods: &pods,
        deployment: deployment.as_ref(),
        claim: claim.as_ref(),
        startup_budget_seconds: deployment.as_ref().map_or(0, budget).into(),
    })
}

fn deployment(owner: &InferenceDeployment, context: &Context) -> Option<Deployment> {
    context.children.typed(ChildKind::Deployment, owner, &owner.name_any())
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
    Outcome { cause, pending }: Outcome,
) -> InferenceDeploymentStatus {
    let deployment = deployment(owner, context);
    // That of the pods, which may be held.
    let running = deployment.as_ref().and_then(|deployment| image(&deployment.spec.template));
    let wanted = owner.spec.image.as_deref().unwrap_or(&context.defaults.image);
    let image = running.unwrap_or(wanted).to_owned();
    let deployment = deployment.as_ref();
    Observed { owner, deployment, cause, pending, image, now: Timestamp::now() }.status()
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
    if let Some(condition) = transition(owner, status) {
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
    Ok(())
}
