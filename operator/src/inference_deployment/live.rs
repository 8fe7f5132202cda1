//! What the caches show of an object's pods, read once a reconcile when its children are applied, and what that says of
//! why pods do not get ready.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use ostro_crds::InferenceDeployment;

use super::Context;
use super::build::{ChildKind, needs_spare, startup_budget_seconds};
use super::classify::{Cause, Signals, claim_name, classify};
use super::refusal;
use super::workload::Workload;

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

    /// Why pods do not get ready, and when that should be asked again.
    pub(super) async fn cause(
        &self,
        context: &Context,
        owner: &InferenceDeployment,
        kind: ChildKind,
    ) -> (Option<Cause>, Option<Duration>) {
        let pods: Vec<&Pod> = self.pods.iter().collect();
        let names: BTreeSet<&str> = pods.iter().filter_map(|pod| claim_name(pod)).collect();
        let claims = names
            .into_iter()
            .filter_map(|name| context.children.typed(ChildKind::PersistentVolumeClaim, owner, name));
        let claims: Vec<PersistentVolumeClaim> = claims.collect();
        let budget = |workload: &Workload| startup_budget_seconds(&workload.spec.template);
        let (refusal, again) = self.refusal(context, owner, (kind, &pods)).await;
        let cause = classify(&Signals {
            pods: &pods,
            refusal: refusal.as_deref(),
            claims: &claims,
            needs_spare: kind == ChildKind::Deployment && needs_spare(&owner.spec),
            startup_budget_seconds: self.workload.as_ref().map_or(0, budget).into(),
        });
        (cause, again)
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
