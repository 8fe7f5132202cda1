//! Writes what differs, prunes what is wanted no more. Nothing is written when nothing changed.

use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use kube::api::{
    Api, DeleteParams, DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams, Request,
};
use kube::{Client, Resource, ResourceExt};
use ostro_crds::{InferenceDeployment, quantity};
use serde_json::Value;

use super::build::{ChildKind, HASH_ANNOTATION, Prepared};
use super::optional::Lack;
use super::{Context, superseded};

/// The one field manager.
pub(crate) const MANAGER: &str = "ostro-operator";

/// The rest of an answer comes by the watch.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("cannot read {kind:?} {name}")]
    Read { kind: ChildKind, name: String, source: kube::Error },
    #[error("{kind:?} {name} exists and is not this object's: rename one of them")]
    Foreign { kind: ChildKind, name: String },
    #[error(
        "{kind:?} {name} is changed by somebody each time it is applied: see its managedFields, and policies of admission"
    )]
    Contested { kind: ChildKind, name: String },
    #[error("cannot apply {kind:?} {name}")]
    Apply { kind: ChildKind, name: String, source: kube::Error },
    #[error("cannot delete {kind:?} {name}")]
    Delete { kind: ChildKind, name: String, source: kube::Error },
}

impl ApplyError {
    /// The API server finds what was made of the spec wrong, whenever it is asked.
    pub(crate) fn is_of_the_spec(&self) -> bool {
        // Of a key that is there twice it says 500.
        matches!(self, ApplyError::Apply { source: kube::Error::Api(status), .. }
            if status.code == 422 || status.message.contains("failed to create typed patch object"))
    }

    /// An apply makes what it does not find, so that only the API itself can be missing.
    fn tells_of_no_api(&self) -> bool {
        matches!(self, ApplyError::Apply { kind, source: kube::Error::Api(status), .. }
            if status.code == 404 && ChildKind::OPTIONAL.contains(kind))
    }
}

/// Writes that were needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) written: usize,
    pub(crate) deleted: usize,
    /// Kinds whose API is not to be had.
    pub(crate) lacking: Vec<(ChildKind, Lack)>,
}

pub(crate) async fn apply(
    context: &Context,
    owner: &InferenceDeployment,
    prepared: &[Prepared],
) -> Result<Applied, ApplyError> {
    let Context { client, children, .. } = context;
    let mut applied = Applied::default();
    for wanted in prepared {
        if let Some(lack) = children.lack(wanted.kind) {
            children.ask_for_apis();
            applied.lacking.push((wanted.kind, lack));
            continue;
        }
        match apply_one(context, owner, wanted).await {
            Ok(is_written) => applied.written += usize::from(is_written),
            Err(error) if error.tells_of_no_api() => {
                children.ask_for_apis();
                applied.lacking.push((wanted.kind, Lack::Missing));
            }
            Err(error) => return Err(error),
        }
    }
    let orphans = children
        .of(owner)
        .into_iter()
        .filter(|(kind, name, object)| !object.is_going && is_orphan(*kind, name, prepared));
    let mut orphans: Vec<_> = orphans.map(|(kind, name, _)| (kind, name)).collect();
    superseded::spare(children, owner, prepared, &mut orphans);
    for (kind, name) in orphans {
        delete(client, owner, kind, name).await?;
        applied.deleted += 1;
    }
    Ok(applied)
}

async fn apply_one(
    context: &Context,
    owner: &InferenceDeployment,
    wanted: &Prepared,
) -> Result<bool, ApplyError> {
    let Context { client, children, contests, .. } = context;
    let Prepared { object, kind } = wanted;
    let (kind, name) = (*kind, object.name_any());
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource());
    let live = children.get(kind, &namespace, &name);
    if live.as_ref().is_some_and(|live| live.is_as(kind, object)) {
        return Ok(false);
    }
    if let Some(hash) = live.as_ref().and_then(|live| live.applied_hash(object))
        && contests.is_lost(&format!("{kind:?}/{namespace}/{name}"), hash)
    {
        return Err(ApplyError::Contested { kind, name });
    }
    if live.is_none() && kind == ChildKind::ControllerRevision && create(client, wanted).await? {
        return Ok(true);
    }
    if !live.is_some_and(|live| live.is_of(owner)) {
        // The cache lags, or somebody else's object has the name.
        let found = api.get_metadata_opt(&name).await;
        let found = found.map_err(|source| ApplyError::Read { kind, name: name.clone(), source })?;
        if found.is_some_and(|found| !is_owned(&found, owner)) {
            return Err(ApplyError::Foreign { kind, name });
        }
    }
    let parameters = PatchParams::apply(MANAGER).force();
    let written = api.patch_metadata(&name, &parameters, &Patch::Apply(object)).await;
    written.map_err(|source| ApplyError::Apply { kind, name, source })?;
    Ok(true)
}

/// `false` where the name is taken. A revision is new with every change of pods, which wait for it, and one request is
/// enough, as nothing of it is ever taken out again; that an apply can do only to fields that an apply has set.
async fn create(client: &Client, wanted: &Prepared) -> Result<bool, ApplyError> {
    let Prepared { object, kind } = wanted;
    let failed = |source| ApplyError::Apply { kind: *kind, name: object.name_any(), source };
    let path = DynamicObject::url_path(&kind.resource(), object.metadata.namespace.as_deref());
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError).map_err(failed)?;
    let request = Request::new(path).create(&parameters, body);
    let mut request = request.map_err(kube::Error::BuildRequest).map_err(failed)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
    match client.request::<PartialObjectMeta<DynamicObject>>(request).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(false),
        Err(source) => Err(failed(source)),
    }
}

async fn delete(
    client: &Client,
    owner: &InferenceDeployment,
    kind: ChildKind,
    name: String,
) -> Result<(), ApplyError> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource());
    match api.delete(&name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(ApplyError::Delete { kind, name, source }),
    }
}

/// A child of before that nothing asks for any more.
pub(crate) fn is_orphan(kind: ChildKind, name: &str, prepared: &[Prepared]) -> bool {
    let is_wanted = prepared
        .iter()
        .any(|wanted| wanted.kind == kind && wanted.object.metadata.name.as_deref() == Some(name));
    // A cache that is no longer asked for may hold what nobody can download again.
    !is_wanted && kind != ChildKind::PersistentVolumeClaim
}

pub(crate) fn is_owned(object: &impl Resource, owner: &InferenceDeployment) -> bool {
    let uid = owner.meta().uid.as_deref();
    object.owner_references().iter().any(|reference| Some(reference.uid.as_str()) == uid)
}

/// The operator's own fields are as it wrote them last, and it would write the same again.
pub(crate) fn is_unchanged(wanted: &DynamicObject, live: &DynamicObject) -> bool {
    let hash = |object: &DynamicObject| object.annotations().get(HASH_ANNOTATION).cloned();
    let metadata = |object: &DynamicObject| serde_json::to_value(&object.metadata).unwrap_or_default();
    hash(wanted) == hash(live)
        && contains(&metadata(live), &metadata(wanted))
        && contains(&live.data, &wanted.data)
}

/// Every field of `part` is in `whole`, which may have more: the API server's defaults.
pub(crate) fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| match whole.get(name) {
                Some(whole) => contains(whole, part),
                None => is_empty(part),
            })
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (Value::String(whole), Value::String(part)) => is_same_text(whole, part),
        (whole, part) => whole == part,
    }
}

pub(crate) fn is_same_text(one: &str, other: &str) -> bool {
    one == other || quantity(one).is_some_and(|one| Some(one) == quantity(other))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// `live` with the fields of `wanted` in it: what an apply makes of it, removed fields aside.
pub(crate) fn overlay(live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (live, wanted) if contains(live, wanted) => live.clone(),
        (Value::Object(fields), Value::Object(wanted)) => {
            let mut fields = fields.clone();
            for (name, wanted) in wanted {
                let live = fields.get(name).unwrap_or(&Value::Null);
                fields.insert(name.clone(), overlay(live, wanted));
            }
            fields.into()
        }
        (Value::Array(items), Value::Array(wanted)) if items.len() == wanted.len() => {
            items.iter().zip(wanted).map(|(live, wanted)| overlay(live, wanted)).collect()
        }
        (_, wanted) => wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostro_crds::Reason;
    use serde_json::json;

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let live = json!({ "spec": { "a": 1, "list": [{ "name": "x", "added": true }], "cpu": "1" } });
        let same = json!({ "spec": { "list": [{ "name": "x" }], "cpu": "1000m", "empty": {} } });
        assert!(contains(&live, &same));
        for other in [
            json!({ "spec": { "a": 2 } }),
            json!({ "spec": { "b": 1 } }),
            json!({ "spec": { "list": [] } }),
            json!({ "spec": { "list": [{ "name": "y" }] } }),
            json!({ "spec": { "cpu": "2" } }),
        ] {
            assert!(!contains(&live, &other), "{other}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_api_servers_words() {
        let twice = "failed to create typed patch object (n/a; apps/v1, Kind=Deployment): duplicate entries";
        let invalid = "Deployment.apps \"a\" is invalid";
        for (code, told, reason) in [
            (422, invalid, Reason::InvalidConfig),
            (500, twice, Reason::InvalidConfig),
            (403, invalid, Reason::ApplyFailed),
        ] {
            let message = told.to_owned();
            let status = kube::core::Status { message, code, ..Default::default() };
            let source = kube::Error::Api(status.boxed());
            let error = ApplyError::Apply { kind: ChildKind::Deployment, name: "a".to_owned(), source };
            let cause = crate::inference_deployment::refused(&error);
            let expected = format!("cannot apply Deployment a: {told}");
            assert_eq!((cause.reason, cause.message), (reason, expected));
        }
    }

    #[test]
    fn an_overlay_keeps_what_was_not_asked_for() {
        let live =
            json!({ "a": { "b": 1, "server": 2 }, "list": [{ "name": "x", "added": true }], "cpu": "1" });
        let wanted = json!({ "a": { "b": 3 }, "list": [{ "name": "y" }], "cpu": "1000m", "new": {} });
        let after = overlay(&live, &wanted);
        assert_eq!(
            after,
            json!({ "a": { "b": 3, "server": 2 }, "list": [{ "name": "y", "added": true }], "cpu": "1", "new": {} })
        );
        assert!(contains(&after, &wanted));
        assert_eq!(overlay(&json!([1, 2]), &json!([1])), json!([1]));
    }
}
