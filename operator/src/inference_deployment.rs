//! Reconciles one `InferenceDeployment`: fetch, validate, build, apply, status.

pub(crate) mod apply;
pub(crate) mod build;
pub(crate) mod children;
pub(crate) mod classify;
pub(crate) mod controller;
pub(crate) mod daemons;
pub(crate) mod optional;
pub(crate) mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
use build::{ChildKind, Defaults, Names, build, monitor_kind, startup_budget_seconds};
use children::Children;
use classify::{Cause, Signals, classify};
use daemons::{Daemons, PodModels};
use status::{Monitored, Observed, is_same, model_ids, transitions};

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
    let mut seen = Seen::default();
    let mut failed = None;
    match owner.spec.validate() {
        Err(problems) => seen.cause = Some(invalid(&problems)),
        Ok(valid) => {
            let prepared = build(&owner, &valid, &context.defaults);
            match apply::apply(&context.client, &context.children, &owner, &prepared).await {
                Ok(applied) => seen = record(&owner, &context, &applied),
                Err(error) => {
                    seen.cause = Some(refused(&error));
                    failed = Some(error);
                }
            }
        }
    }
    let pods = context.children.pods_of(&owner);
    let uid = owner.uid().unwrap_or_default();
    let look = context.daemons.look(&uid, &model_ids(&owner.spec), &pods).await;
    let status = observe(&owner, &context, seen, &look.pods);
    if !is_same(&owner, &status) {
        write_status(&owner, &context, &status).await?;
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Action::requeue(look.again.unwrap_or(RESYNC).min(resync(&owner)))),
    }
}

/// Not all objects at the same moment.
fn resync(owner: &InferenceDeployment) -> Duration {
    RESYNC + Duration::from_secs(spread(&owner.uid().unwrap_or_default()).into())
}

/// What a reconcile learned, beside the Deployment's own status.
#[derive(Default)]
struct Seen {
    cause: Option<Cause>,
    monitored: Option<Monitored>,
}

fn record(owner: &InferenceDeployment, context: &Context, applied: &Applied) -> Seen {
    let writes = applied.written + applied.deleted;
    context.metrics.writes.inc_by(writes as u64);
    if writes > 0 {
        tracing::info!(written = applied.written, deleted = applied.deleted, "applied");
    }
    let deployment = deployment(owner, context);
    let pods = context.children.pods_of(owner);
    let pods: Vec<_> = pods.iter().map(AsRef::as_ref).collect();
    let names = Names::of(owner);
    let claim = context.children.typed(ChildKind::PersistentVolumeClaim, owner, &names.claim());
    let cause = classify(&Signals {
        pods: &pods,
        deployment: deployment.as_ref(),
        claim: claim.as_ref(),
        startup_budget_seconds: startup_budget_seconds(&owner.spec).into(),
    });
    let monitored = monitor_kind(&owner.spec).map(|kind| {
        let lacking = applied.lacking.iter().find(|(lacking, _)| *lacking == kind);
        Monitored::of(kind, lacking.map(|(_, lack)| lack))
    });
    Seen { cause, monitored }
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
    Seen { cause, monitored }: Seen,
    pods: &[PodModels],
) -> InferenceDeploymentStatus {
    let image = owner.spec.image.clone().unwrap_or_else(|| context.defaults.image.clone());
    let deployment = deployment(owner, context);
    let now = Timestamp::now();
    Observed { owner, deployment: deployment.as_ref(), pods, cause, monitored, image, now }.status()
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
