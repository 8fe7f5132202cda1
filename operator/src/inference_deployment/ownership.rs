//! What was made for an `InferenceDeployment` and nobody owns any more, as after `kubectl delete --cascade=orphan`, or
//! when somebody has taken the reference out. It is the object's of that name, before anything is decided by it.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use ostro_crds::InferenceDeployment;
use serde_json::json;

use super::Context;
use super::apply::{ApplyError, MANAGER};
use super::build::{ChildKind, HASH_ANNOTATION, instance_of};

/// The object that a child names, where nobody owns it.
pub(super) fn left_by(child: &impl Resource) -> Option<&str> {
    let metadata = child.meta();
    // Copies of it, and claims that a StatefulSet makes, have only the labels.
    let is_applied = metadata.annotations.as_ref()?.contains_key(HASH_ANNOTATION);
    let is_owned = metadata.owner_references.iter().flatten().any(is_in_charge);
    let instance = instance_of(metadata.labels.as_ref()?)?;
    let is_named = metadata.name.as_ref()?.strip_prefix(instance).is_some_and(is_end);
    (is_applied && is_named && !is_owned).then_some(instance)
}

fn is_in_charge(owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference) -> bool {
    owner.controller == Some(true) || owner.kind == InferenceDeployment::kind(&())
}

/// Of a child's name, behind the object's.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('-')
}

pub(crate) fn is_owned(object: &impl Resource, owner: &InferenceDeployment) -> bool {
    let uid = owner.meta().uid.as_deref();
    object.owner_references().iter().any(|reference| Some(reference.uid.as_str()) == uid)
}

/// It is, or will be once the operator looks.
pub(crate) fn is_own(object: &impl Resource, owner: &InferenceDeployment) -> bool {
    is_owned(object, owner) || left_by(object) == owner.meta().name.as_deref()
}

/// Whether there was anything: then watches show soon what else there is to do.
pub(super) async fn take_back(context: &Context, owner: &InferenceDeployment) -> Result<bool, ApplyError> {
    let left = context.children.left_by(owner);
    if left.is_empty() {
        return Ok(false);
    }
    // Of an object that goes, garbage collection would take what it is given: a cache may not know yet.
    if is_there(context, owner).await? {
        for (kind, name) in left {
            take(context, owner, (kind, &name)).await?;
        }
    }
    Ok(true)
}

async fn is_there(context: &Context, owner: &InferenceDeployment) -> Result<bool, ApplyError> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<InferenceDeployment> = Api::namespaced(context.client.clone(), &namespace);
    let found = api.get_metadata_opt(&owner.name_any()).await.map_err(ApplyError::Owner)?;
    let metadata = found.map(|found| found.metadata);
    Ok(metadata.is_some_and(|found| found.uid == owner.meta().uid && found.deletion_timestamp.is_none()))
}

async fn take(
    context: &Context,
    owner: &InferenceDeployment,
    (kind, name): (ChildKind, &str),
) -> Result<(), ApplyError> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind.resource());
    let found = api.get_metadata_opt(name).await;
    let found = found.map_err(|source| ApplyError::Read { kind, name: name.to_owned(), source })?;
    let Some(found) = found.filter(|found| left_by(found).is_some()) else { return Ok(()) };
    let mut owners = found.metadata.owner_references.unwrap_or_default();
    owners.extend(owner.controller_owner_ref(&()));
    let version = found.metadata.resource_version;
    let patch = json!({ "metadata": { "ownerReferences": owners, "resourceVersion": version } });
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(name, &parameters, &Patch::Merge(patch)).await {
        Ok(_) => {
            context.metrics.writes.inc();
            tracing::info!("{kind:?} {name} was nobody's, and is this object's again");
            Ok(())
        }
        // Whoever wrote meanwhile has made an event of it.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(source) => Err(ApplyError::Apply { kind, name: name.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn what_names_an_object_and_nobody_owns_is_left_by_it() {
        let owner = |kind: &str, controller: bool| json!([{ "apiVersion": "v1", "kind": kind, "name": "x", "uid": "1", "controller": controller }]);
        for (name, annotation, owners, expected) in [
            ("m", HASH_ANNOTATION, json!([]), Some("m")),
            ("m-cache", HASH_ANNOTATION, owner("Backup", false), Some("m")),
            ("m", HASH_ANNOTATION, owner("Backup", true), None),
            ("m", HASH_ANNOTATION, owner("InferenceDeployment", false), None),
            ("copy", HASH_ANNOTATION, json!([]), None),
            ("mine", HASH_ANNOTATION, json!([]), None),
            ("cache-m-0", "other", json!([]), None),
        ] {
            let metadata: Value = json!({
                "name": name, "annotations": { annotation: "1" }, "ownerReferences": owners,
                "labels": { "app.kubernetes.io/instance": "m" },
            });
            let child: DynamicObject = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
            assert_eq!(left_by(&child), expected, "{metadata}");
        }
    }
}
