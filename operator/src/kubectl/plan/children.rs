//! What would become of one child, and of what there is: as the operator's apply decides.

use anyhow::{Context, Result, bail};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use ostro_crds::InferenceDeployment;
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::diff::{FieldChange, diff};
use super::super::explained::explained;
use super::{Change, What, intended};
use crate::inference_deployment::apply::{ApplyError, MANAGER};
use crate::inference_deployment::build::{ChildKind, HASH_ANNOTATION, Prepared, TEMPLATE_HASH_ANNOTATION};
use crate::inference_deployment::claim_size::as_large;
use crate::inference_deployment::comparison::{is_unchanged, overlay};
use crate::inference_deployment::ownership::is_own;
use crate::readable::list_readable;

/// What there is of each kind that the cluster has.
pub(super) async fn children_by_kind(cluster: &Cluster) -> Result<Vec<(ChildKind, Vec<DynamicObject>)>> {
    let mut found = Vec::new();
    for kind in ChildKind::ALL.into_iter().chain(ChildKind::OPTIONAL) {
        found.extend(children(cluster, kind).await?.map(|objects| (kind, objects)));
    }
    Ok(found)
}

/// As `apply` decides.
pub(super) async fn plan_child(
    cluster: &Cluster,
    owner: &InferenceDeployment,
    wanted: &Prepared,
    notes: &mut Vec<String>,
) -> Result<Change> {
    let (kind, name) = (wanted.kind, wanted.object.name_any());
    let api = child_api(cluster, kind);
    let live = api.get_opt(&name).await;
    let live = live.map_err(explained).with_context(|| format!("cannot read {kind:?} {name}"))?;
    let what = match &live {
        Some(live) if !is_own(live, owner) => bail!(ApplyError::Foreign { kind, name }),
        Some(live) if is_unchanged(&wanted.object, live) => What::Unchanged,
        Some(live) => {
            let wanted = &Prepared { object: as_large(&wanted.object, live).into_owned(), kind };
            changed(&api, live, wanted, notes).await?
        }
        None => {
            dry_run(&api, wanted, notes).await?;
            What::Created
        }
    };
    let replicas = live.as_ref().and_then(|live| replicas(&live.data));
    Ok(Change { kind: format!("{kind:?}"), name, what, replicas })
}

/// What applying makes of an object that is there.
async fn changed(
    api: &Api<DynamicObject>,
    live: &DynamicObject,
    wanted: &Prepared,
    notes: &mut Vec<String>,
) -> Result<What> {
    let after = match dry_run(api, wanted, notes).await {
        Ok(Some(after)) => after,
        Ok(None) => serde_json::from_value(overlay(&json!(live), &json!(wanted.object)))?,
        // Then the operator applies all else (`ApplyError::leaves_others`).
        Err(error) if wanted.kind == ChildKind::PersistentVolumeClaim => {
            notes.push(format!("{error:#}: it stays as it is, and all else is applied"));
            return Ok(What::Unchanged);
        }
        Err(error) => return Err(error),
    };
    Ok(what_of(&fields(live)?, &fields(&after)?))
}

/// The object as the API server would keep it; `None` where the user may not ask for it.
async fn dry_run(
    api: &Api<DynamicObject>,
    wanted: &Prepared,
    notes: &mut Vec<String>,
) -> Result<Option<DynamicObject>> {
    let (kind, name) = (wanted.kind, wanted.object.name_any());
    let parameters = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
    match api.patch(&name, &parameters, &Patch::Apply(&wanted.object)).await {
        Ok(after) => Ok(Some(after)),
        // A quota is Forbidden too, and so it is to the operator.
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains(" cannot ") => {
            notes.push(format!(
                "{kind:?} {name} is compared here, since the API server refuses: {}",
                status.message
            ));
            Ok(None)
        }
        Err(error) => Err(explained(error).context(format!("the operator could not apply {kind:?} {name}"))),
    }
}

/// `None` where the cluster lacks an optional API.
async fn children(cluster: &Cluster, kind: ChildKind) -> Result<Option<Vec<DynamicObject>>> {
    let ours = ListParams::default().labels(&kind.selector());
    match list_readable(&cluster.client, child_api(cluster, kind).resource_url(), ours).await {
        Ok(listed) => Ok(Some(listed)),
        Err(kube::Error::Api(status)) if status.code == 404 && ChildKind::OPTIONAL.contains(&kind) => {
            Ok(None)
        }
        Err(error) => Err(explained(error).context(format!("cannot list objects of kind {kind:?}"))),
    }
}

pub(super) fn child_api(cluster: &Cluster, kind: ChildKind) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind.resource())
}

fn replicas(data: &Value) -> Option<i64> {
    // Only workloads have a template.
    data["spec"].get("template")?;
    Some(data["spec"]["replicas"].as_i64().unwrap_or(1))
}

/// What people write of an object, and not what the API server and kubectl note.
pub(super) fn fields(object: &impl serde::Serialize) -> Result<Value> {
    let mut object = serde_json::to_value(object)?;
    let mut metadata = object["metadata"].take();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(intended::LAST_APPLIED);
    }
    let kept = ["labels", "annotations", "ownerReferences"];
    let kept = kept.into_iter().filter_map(|name| Some((name.to_owned(), metadata.get(name)?.clone())));
    // An empty map is as good as none.
    object["metadata"] = kept.filter(|(_, value)| *value != json!({})).collect();
    if let Some(fields) = object.as_object_mut() {
        // Items of lists have no types.
        fields.retain(|name, _| !["apiVersion", "kind", "status"].contains(&name.as_str()));
    }
    Ok(object)
}

pub(super) fn what_of(before: &Value, after: &Value) -> What {
    let mut changes = diff(before, after);
    // Says that something differs, which the other fields say better.
    let is_note = |change: &FieldChange| {
        [HASH_ANNOTATION, TEMPLATE_HASH_ANNOTATION].iter().any(|note| change.path.contains(note))
    };
    if !changes.iter().all(is_note) {
        changes.retain(|change| !is_note(change));
    }
    if changes.is_empty() { What::Unchanged } else { What::Changed(changes) }
}

pub(super) fn replaces(before: &DynamicObject, after: &DynamicObject) -> Result<What> {
    Ok(match what_of(&fields(before)?, &fields(after)?) {
        What::Changed(fields) => What::Replaces(fields),
        _ => What::Created,
    })
}

pub(super) fn deletion(kind: ChildKind, object: &DynamicObject) -> Change {
    let kind = format!("{kind:?}");
    Change { kind, name: object.name_any(), what: What::Deleted, replicas: replicas(&object.data) }
}
