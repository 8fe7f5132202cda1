//! How one child is written: by its name, so that whose the object of that name is has to be known before.

use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use kube::api::{Api, DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams, Request};
use kube::core::Status;
use kube::{Client, Resource, ResourceExt};
use ostro_crds::InferenceDeployment;

use super::apply::{ApplyError, MANAGER};
use super::build::{ChildKind, Prepared};
use super::cached::Version;
use super::ownership::{is_of_predecessor, is_own, is_owned};
use super::{ownership, revision};

/// The rest of an answer comes by the watch.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The version that comes of it. `known` is the uid of the owner's own child, as a watch has shown it; whose another is, is
/// asked for first.
pub(super) async fn write(
    client: &Client,
    (owner, known): (&InferenceDeployment, Option<String>),
    wanted: &Prepared,
) -> Result<Version, ApplyError> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &wanted.kind.resource());
    let failed = |source| ApplyError::Apply { kind: wanted.kind, name: wanted.object.name_any(), source };
    if let Some(uid) = known {
        match write_over(&api, Some(uid), wanted).await {
            // The watch lags: it has gone since, or somebody has made another.
            Err(kube::Error::Api(status)) if status.code == 404 || is_of_another(&status) => {}
            written => return written.map_err(failed),
        }
    }
    let found = find(client, (&api, owner), wanted).await?;
    write_over(&api, found, wanted).await.map_err(failed)
}

/// The uid of the object of that name, which is the owner's or may become so; none where there is no such object.
async fn find(
    client: &Client,
    (api, owner): (&Api<DynamicObject>, &InferenceDeployment),
    wanted: &Prepared,
) -> Result<Option<String>, ApplyError> {
    let (kind, name) = (wanted.kind, wanted.object.name_any());
    let found = api.get_metadata_opt(&name).await;
    let found = found.map_err(|source| ApplyError::Read { kind, name: name.clone(), source })?;
    let Some(found) = found else { return Ok(None) };
    if !is_owned(&found, owner) {
        let may_take =
            is_own(&found, owner) && ownership::is_there(client, owner).await.map_err(ApplyError::Owner)?;
        if !may_take {
            return Err(match is_of_predecessor(&found, owner) {
                true => ApplyError::Predecessors { kind, name },
                false if found.metadata.deletion_timestamp.is_some() => ApplyError::Going { kind, name },
                false => ApplyError::Foreign { kind, name },
            });
        }
        tracing::info!("{kind:?} {name} was nobody's, and becomes this object's");
    }
    Ok(found.metadata.uid)
}

/// Over the object of this uid and no other; where it has gone, a merge finds nothing (404). Without a uid the object is new;
/// what somebody makes meanwhile keeps its fields, since nothing is forced. One with none of these fields is taken over.
async fn write_over(
    api: &Api<DynamicObject>,
    uid: Option<String>,
    Prepared { object, kind }: &Prepared,
) -> kube::Result<Version> {
    let (name, is_there) = (object.name_any(), uid.is_some());
    let mut object = object.clone();
    object.metadata.uid = uid;
    let written = match is_there && *kind == ChildKind::ControllerRevision {
        true => {
            let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
            api.patch_metadata(&name, &parameters, &Patch::Merge(revision::without_data(&object))).await
        }
        false => {
            let parameters = PatchParams { force: is_there, ..PatchParams::apply(MANAGER) };
            api.patch_metadata(&name, &parameters, &Patch::Apply(object)).await
        }
    };
    Ok(Version::of(&written?.metadata))
}

/// The object of the uid that was written is not there, or another has its name; nothing was changed.
pub(super) fn is_of_another(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let is_another = status.code == 422 && causes.into_iter().any(|cause| cause.field == "metadata.uid");
    is_another || (status.code == 409 && status.message.contains("uid mismatch"))
}

/// New with every change of pods, which wait for them. One request is enough, as nothing of them is ever taken out again;
/// that an apply can do only to fields that an apply has set.
pub(super) const CREATED: [ChildKind; 2] = [ChildKind::ControllerRevision, ChildKind::ConfigMap];

/// `false` where the name is taken.
pub(super) async fn create(client: &Client, wanted: &Prepared) -> Result<bool, ApplyError> {
    let Prepared { object, kind } = wanted;
    let failed = |source| ApplyError::Apply { kind: *kind, name: object.name_any(), source };
    let path = DynamicObject::url_path(&kind.resource(), object.metadata.namespace.as_deref());
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let body = revision::canonical(object).map_err(kube::Error::SerdeError).map_err(failed)?;
    let request = Request::new(path).create(&parameters, body.into_bytes());
    let mut request = request.map_err(kube::Error::BuildRequest).map_err(failed)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
    match client.request::<PartialObjectMeta<DynamicObject>>(request).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(false),
        Err(source) => Err(failed(source)),
    }
}
