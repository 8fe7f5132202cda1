//! Whose a child is. One that nobody owns any more, as after `kubectl delete --cascade=orphan` or when somebody has taken
//! the reference out, is of the object that its labels name, where that wants it: an apply makes it so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Api;
use kube::{Client, Resource, ResourceExt};
use ostro_crds::InferenceDeployment;

use super::build::{HASH_ANNOTATION, MANAGED_BY, instance_of};

pub(crate) fn is_owned(child: &impl Resource, owner: &InferenceDeployment) -> bool {
    let uid = owner.meta().uid.as_deref();
    child.owner_references().iter().any(|reference| Some(reference.uid.as_str()) == uid)
}

/// It is owned, or an apply would make it so.
pub(crate) fn is_own(child: &impl Resource, owner: &InferenceDeployment) -> bool {
    is_owned(child, owner) || left_by(child).is_some_and(|name| owner.meta().name.as_deref() == Some(name))
}

/// Of an object that had the name before: the garbage collector has yet to take it.
pub(crate) fn is_of_predecessor(child: &impl Resource, owner: &InferenceDeployment) -> bool {
    let name = owner.meta().name.as_deref();
    child.owner_references().iter().any(|reference| {
        reference.kind == InferenceDeployment::kind(&())
            && reference.api_version == InferenceDeployment::api_version(&())
            && Some(reference.name.as_str()) == name
            && Some(&reference.uid) != owner.meta().uid.as_ref()
    })
}

/// Left, and nobody else is named there, who would have a say, in charge or not.
pub(crate) fn is_nobodys(child: &impl Resource, owner: &InferenceDeployment) -> bool {
    is_own(child, owner) && child.owner_references().is_empty()
}

/// Those that an object owns; those that it left, where it owns none.
pub(crate) fn own<'a, K: Resource>(children: &'a [K], owner: &InferenceDeployment) -> Vec<&'a K> {
    let owned: Vec<&K> = children.iter().filter(|child| is_owned(*child, owner)).collect();
    match owned.is_empty() {
        true => children.iter().filter(|child| is_own(*child, owner)).collect(),
        false => owned,
    }
}

/// The object that a child of nobody names.
pub(crate) fn left_by(child: &impl Resource) -> Option<&str> {
    let metadata = child.meta();
    let labels = metadata.labels.as_ref()?;
    // Claims that a StatefulSet makes have only the labels.
    let is_applied = metadata.annotations.as_ref()?.contains_key(HASH_ANNOTATION);
    let name = instance_of(labels)?;
    let is_owned = metadata.owner_references.iter().flatten().any(|owner| is_in_charge(owner, name));
    (is_applied && !is_owned && labels.contains_key(MANAGED_BY)).then_some(name)
}

/// An object's StatefulSet adopts revisions of it that are nobody's.
fn is_in_charge(owner: &OwnerReference, name: &str) -> bool {
    let has_adopted = owner.kind == "StatefulSet" && owner.name == name;
    (owner.controller == Some(true) && !has_adopted) || owner.kind == InferenceDeployment::kind(&())
}

/// Asks the API server. Of an object that goes, garbage collection would take what it is given, and a cache may not know.
pub(super) async fn is_there(client: &Client, owner: &InferenceDeployment) -> kube::Result<bool> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<InferenceDeployment> = Api::namespaced(client.clone(), &namespace);
    let found = api.get_metadata_opt(&owner.name_any()).await?.map(|found| found.metadata);
    Ok(found.is_some_and(|found| found.uid == owner.meta().uid && found.deletion_timestamp.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    #[test]
    fn what_names_an_object_and_nobody_owns_is_left_by_it() {
        let named = |kind: &str, name: &str, controller: bool| json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": controller }]);
        let owner = |kind: &str, controller: bool| named(kind, "x", controller);
        for (label, annotation, owners, expected) in [
            (MANAGED_BY, HASH_ANNOTATION, json!([]), Some("m")),
            (MANAGED_BY, HASH_ANNOTATION, owner("Backup", false), Some("m")),
            (MANAGED_BY, HASH_ANNOTATION, owner("Backup", true), None),
            (MANAGED_BY, HASH_ANNOTATION, owner("InferenceDeployment", false), None),
            (MANAGED_BY, HASH_ANNOTATION, owner("StatefulSet", true), None),
            (MANAGED_BY, HASH_ANNOTATION, named("StatefulSet", "m", true), Some("m")),
            (MANAGED_BY, "other", json!([]), None),
            ("other", HASH_ANNOTATION, json!([]), None),
        ] {
            let metadata: Value = json!({
                "annotations": { annotation: "1" }, "ownerReferences": owners,
                "labels": { "app.kubernetes.io/instance": "m", label: "ostro-operator" },
            });
            let child: DynamicObject = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
            assert_eq!(left_by(&child), expected, "{metadata}");
        }
    }
}
