//! What an object wants no more: its own is deleted, and of what an object of before left what acts on its pods.

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use kube::core::{ObjectMeta, Status};
use kube::{Client, ResourceExt};
use ostro_crds::InferenceDeployment;

use super::apply::{Applied, ApplyError};
use super::build::{ChildKind, Names, Prepared};
use super::ownership::{is_nobodys, is_owned};
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
    let left = left.into_iter().filter(|(kind, name, _)| acts_on_pods(*kind, name, owner));
    let left = left.map(|(kind, name, _)| (kind, name, Whose::Nobodys));
    let owned = owned.into_iter().map(|(kind, name)| (kind, name, Whose::Own));
    let mut failed = None;
    for (kind, name, whose) in owned.chain(left) {
        match delete(client, owner, (kind, name), whose).await {
            Ok(is_deleted) => applied.deleted += usize::from(is_deleted),
            Err(error) if ChildKind::OPTIONAL.contains(&kind) => applied.note_monitor(kind, error),
            Err(error) => failed = failed.take().or(Some(error)),
        }
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

/// What a child that goes has to be still when the API server is asked.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    Own,
    /// Left by an object of before, while this one is there to stay.
    Nobodys,
}

/// `false` where it is gone, or not what it was: a cache may lag.
pub(super) async fn delete(
    client: &Client,
    owner: &InferenceDeployment,
    (kind, name): (ChildKind, String),
    whose: Whose,
) -> Result<bool, ApplyError> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource());
    let found = api.get_metadata_opt(&name).await;
    let found = found.map_err(|source| ApplyError::Read { kind, name: name.clone(), source })?;
    let Some(found) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) else {
        return Ok(false);
    };
    let may_go = match whose {
        Whose::Own => is_owned(&found, owner),
        Whose::Nobodys => {
            is_nobodys(&found, owner)
                && ownership::is_there(client, owner).await.map_err(ApplyError::Owner)?
        }
    };
    if !may_go {
        return Ok(false);
    }
    if let Whose::Nobodys = whose {
        tracing::info!("{kind:?} {name} was left by an object of before, and is deleted");
    }
    match api.delete(&name, &parameters(kind, &found.metadata)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 || is_of_another(&status) => Ok(false),
        Err(source) => Err(ApplyError::Delete { kind, name, source }),
    }
}

fn parameters(kind: ChildKind, found: &ObjectMeta) -> DeleteParams {
    // A Job is there until its pods have ended.
    let parameters = match kind {
        ChildKind::Job => DeleteParams::foreground(),
        _ => DeleteParams::background(),
    };
    parameters.preconditions(Preconditions { uid: found.uid.clone(), resource_version: None })
}

/// The precondition does not hold; a webhook may refuse with the same code.
fn is_of_another(status: &Status) -> bool {
    status.code == 409 && status.message.contains("Precondition failed")
}
