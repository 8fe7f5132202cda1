//! How one child is written: by its name, so that whose the object of that name is has to be known before.

use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use kube::api::{Api, DynamicObject, PartialObjectMeta, Patch, PatchParams, PostParams, Request};
use kube::{Client, Resource, ResourceExt};
use ostro_crds::InferenceDeployment;

use super::apply::{ApplyError, MANAGER};
use super::build::{ChildKind, Prepared};
use super::cached::Version;
use super::ownership::{is_of_predecessor, is_own, is_owned};
use super::{ownership, revision};

/// The rest of an answer comes by the watch.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The version that comes of it. Of a child that is not known to be its own, the owner is asked for first.
pub(super) async fn write(
    client: &Client,
    (owner, is_known): (&InferenceDeployment, bool),
    Prepared { object, kind }: &Prepared,
) -> Result<Version, ApplyError> {
    let (kind, name) = (*kind, object.name_any());
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind.resource());
    let mut is_there = is_known;
    if !is_known {
        // The cache lags, or somebody else's object has the name.
        let found = api.get_metadata_opt(&name).await;
        let found = found.map_err(|source| ApplyError::Read { kind, name: name.clone(), source })?;
        is_there = found.is_some();
        if let Some(found) = found.filter(|found| !is_owned(found, owner)) {
            let may_take = is_own(&found, owner)
                && ownership::is_there(client, owner).await.map_err(ApplyError::Owner)?;
            if !may_take {
                return Err(match is_of_predecessor(&found, owner) {
                    true => ApplyError::Predecessors { kind, name },
                    false if found.metadata.deletion_timestamp.is_some() => ApplyError::Going { kind, name },
                    false => ApplyError::Foreign { kind, name },
                });
            }
            tracing::info!("{kind:?} {name} was nobody's, and becomes this object's");
        }
    }
    let written = match is_there && kind == ChildKind::ControllerRevision {
        true => {
            let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
            api.patch_metadata(&name, &parameters, &Patch::Merge(revision::without_data(object))).await
        }
        false => api.patch_metadata(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await,
    };
    let written = written.map_err(|source| ApplyError::Apply { kind, name, source })?;
    Ok(Version::of(&written.metadata))
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
