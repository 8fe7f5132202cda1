//! What the caches show of an object's pods, read once a reconcile when its children are applied, and what that says of
//! why pods do not get ready.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use ostro_crds::InferenceDeployment;

use super::Context;
use super::build::{ChildKind, needs_spare, startup_budget_seconds, template_hash};
use super::classify::{Cause, Signals, Stuck, claim_name, classify};
use super::workload::Workload;
use super::{events, refusal};

pub(super) struct Live {
    pub(super) workload: Option<Workload>,
    pub(super) pods: Vec<Pod>,
}

impl Live {
    /// With this kind of workload; with either where none was applied.
    pub(super) fn read(context: &Context, owner: &InferenceDeployment, kind: Option<ChildKind>) -> Live {
        Live {
            workload: Workload::find(&context.children, owner, kind),
            pods: context.children.pods_of(owner),
        }
    }

    /// Why pods of this template do not get ready, and when that should be asked again.
    pub(super) async fn cause(
        &self,
        context: &Context,
        owner: &InferenceDeployment,
        (kind, template): (ChildKind, Option<&str>),
    ) -> (Option<Cause>, Option<Duration>) {
        // What pods of before suffer from says nothing of what they are replaced by.
        let pods = self.pods.iter().filter(|pod| template_hash(&pod.metadata) == template);
        let pods: Vec<&Pod> = pods.collect();
        let claims = self.claims(context, owner);
        let budget = |workload: &Workload| startup_budget_seconds(&workload.spec.template);
        let (refusal, refusal_again) = self.refusal(context, owner, (kind, &pods)).await;
        let now = Timestamp::now();
        let signals = Signals {
            pods: &pods,
            refusal: refusal.as_deref(),
            claims: &claims,
            needs_spare: kind == ChildKind::Deployment && needs_spare(&owner.spec),
            startup_budget_seconds: self.workload.as_ref().map_or(0, budget).into(),
            is_complete: self.workload.as_ref().is_some_and(Workload::is_ready),
            now,
        };
        let cause = classify(&signals);
        let mut again = [refusal_again, signals.due()].into_iter().flatten().min();
        if cause.is_some() || signals.is_complete {
            return (cause, again);
        }
        let stuck = Stuck::find(&pods, now);
        again = again.into_iter().chain(stuck.iter().map(Stuck::again)).min();
        (of_events(context, owner, &stuck).await, again)
    }

    fn claims(&self, context: &Context, owner: &InferenceDeployment) -> Vec<PersistentVolumeClaim> {
        let names: BTreeSet<&str> = self.pods.iter().filter_map(claim_name).collect();
        let claim = |name| context.children.typed(ChildKind::PersistentVolumeClaim, owner, name);
        names.into_iter().filter_map(claim).collect()
    }

    /// Why the API server lets no pods be made.
    async fn refusal(
        &self,
        context: &Context,
        owner: &InferenceDeployment,
        (kind, pods): (ChildKind, &[&Pod]),
    ) -> (Option<String>, Option<Duration>) {
        match &self.workload {
            Some(workload) if kind == ChildKind::Deployment => (refusal::of_status(workload), None),
            Some(workload) if refusal::lacks_pods(workload) => {
                let namespace = owner.namespace().unwrap_or_default();
                let uid = workload.metadata.uid.as_deref().unwrap_or_default();
                let told = refusal::fetch(&context.client, (&namespace, uid), pods).await;
                (told, Some(refusal::AGAIN))
            }
            _ => (None, None),
        }
    }
}

/// Of pods that nothing else is told of.
async fn of_events(context: &Context, owner: &InferenceDeployment, stuck: &[Stuck<'_>]) -> Option<Cause> {
    let namespace = owner.namespace().unwrap_or_default();
    for stuck in stuck.iter().filter(|stuck| stuck.is_overdue()) {
        let uid = stuck.pod.uid().unwrap_or_default();
        let events = events::fetch(&context.client, (&namespace, &uid), "").await;
        if let Some(cause) = stuck.cause(&events) {
            return Some(cause);
        }
    }
    None
}
