//! What an object wants no more: its own is deleted, and of what an object of before left what acts on its pods.

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use kube::{Client, ResourceExt};
use ostro_crds::InferenceDeployment;

use super::apply::{Applied, ApplyError};
use super::build::{ChildKind, Names, Prepared};
use super::ownership::is_own;
use super::{Context, ownership, superseded};

/// One that cannot be deleted keeps none of the others, and a monitor nothing at all.
pub(super) async fn prune(
    Context { client, children, .. }: &Context,
    owner: &InferenceDeployment,
    prepared: &[Prepared],
    applied: &mut Applied,
) -> Result<(), ApplyError> {
    // Where pods are to start later, what makes them is news that a lagging watch has brought meanwhile.
    let has_pods = prepared.iter().any(|one| ChildKind::WORKLOADS.contains(&one.kind));
    let own = children.own(owner).into_iter().filter(|(kind, name, object)| {
        !object.is_going && is_orphan(*kind, name, prepared) && (has_pods || !kind.is_of_pods())
    });
    let (owned, left): (Vec<_>, Vec<_>) = own.partition(|(_, _, object)| object.is_of(owner));
    let mut owned: Vec<_> = owned.into_iter().map(|(kind, name, _)| (kind, name)).collect();
    superseded::spare(children, owner, prepared, &mut owned);
    let mut failed = None;
    let mut note = |kind, deleted: Result<(), ApplyError>| match deleted {
        Ok(()) => applied.deleted += 1,
        Err(error) if ChildKind::OPTIONAL.contains(&kind) => {
            applied.monitor = applied.monitor.take().or(Some(error));
        }
        Err(error) => failed = failed.take().or(Some(error)),
    };
    for (kind, name) in owned {
        note(kind, delete(client, owner, kind, name).await);
    }
    for (kind, name, _) in left.into_iter().filter(|(kind, name, _)| acts_on_pods(*kind, name, owner)) {
        note(kind, delete_left(client, owner, kind, name).await);
    }
    failed.map_or(Ok(()), Err)
}

/// A child of before that nothing asks for any more.
pub(crate) fn is_orphan(kind: ChildKind, name: &str, prepared: &[Prepared]) -> bool {
    let is_wanted = prepared
        .iter()
        .any(|wanted| wanted.kind == kind && wanted.object.metadata.name.as_deref() == Some(name));
    // A cache that is no longer asked for may hold what nobody can download again.
    !is_wanted && kind != ChildKind::PersistentVolumeClaim
}

/// Under the names that an object's own have: one that it left, by `kubectl delete --cascade=orphan`, has a part in what
/// becomes of the next one's pods. Others may be copies, or kept on purpose.
pub(crate) fn acts_on_pods(kind: ChildKind, name: &str, owner: &InferenceDeployment) -> bool {
    use ChildKind::{
        Deployment, NetworkPolicy, PodDisruptionBudget, PodMonitor, Service, ServiceMonitor, StatefulSet,
    };
    let names = Names::of(owner);
    let kinds =
        [Deployment, StatefulSet, Service, NetworkPolicy, PodDisruptionBudget, ServiceMonitor, PodMonitor];
    kinds.contains(&kind) && (name == names.name || name == names.headless())
}

fn api(client: &Client, owner: &InferenceDeployment, kind: ChildKind) -> Api<DynamicObject> {
    let namespace = owner.namespace().unwrap_or_default();
    Api::namespaced_with(client.clone(), &namespace, &kind.resource())
}

pub(super) async fn delete(
    client: &Client,
    owner: &InferenceDeployment,
    kind: ChildKind,
    name: String,
) -> Result<(), ApplyError> {
    // A Job is there until its pods have ended.
    let parameters = match kind {
        ChildKind::Job => DeleteParams::foreground(),
        _ => DeleteParams::background(),
    };
    delete_by(&api(client, owner, kind), (kind, name), &parameters).await
}

/// Where this object is there to stay, and nobody else has the name by now.
async fn delete_left(
    client: &Client,
    owner: &InferenceDeployment,
    kind: ChildKind,
    name: String,
) -> Result<(), ApplyError> {
    let api = api(client, owner, kind);
    let found = api.get_metadata_opt(&name).await;
    let found = found.map_err(|source| ApplyError::Read { kind, name: name.clone(), source })?;
    let Some(found) = found.filter(|found| is_own(found, owner)) else { return Ok(()) };
    if !ownership::is_there(client, owner).await.map_err(ApplyError::Owner)? {
        return Ok(());
    }
    tracing::info!("{kind:?} {name} was left by an object of before, and is deleted");
    let preconditions = Preconditions { uid: found.uid(), resource_version: None };
    delete_by(&api, (kind, name), &DeleteParams::background().preconditions(preconditions)).await
}

/// What is gone, or another one by now, is no error.
async fn delete_by(
    api: &Api<DynamicObject>,
    (kind, name): (ChildKind, String),
    parameters: &DeleteParams,
) -> Result<(), ApplyError> {
    match api.delete(&name, parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(source) => Err(ApplyError::Delete { kind, name, source }),
    }
}
