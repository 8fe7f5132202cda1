//! What an object's pods were rendered from last: from the cache, and from the API where the cache does not explain
//! what runs.

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::reflector::ObjectRef;
use ostro_crds::InferenceDeployment;

use super::adopt::adopt;
use crate::inference_deployment::Context;
use crate::inference_deployment::apply::{ApplyError, contains, is_owned};
use crate::inference_deployment::build::{
    CONFIG_FILE, ChildKind, History, Kept, Names, Rendering, inputs_hash, selector_text,
};

pub(crate) async fn fetch_history(
    context: &Context,
    owner: &InferenceDeployment,
    rendered: &Rendering,
) -> Result<History, ApplyError> {
    let names = Names::of(owner);
    let cached = context.children.of(owner);
    let of_kind = |kind| cached.iter().filter(move |(found, _)| *found == kind).map(|(_, object)| &**object);
    let history = History::read(&names, of_kind(ChildKind::ControllerRevision));
    let deployments = of_kind(ChildKind::Deployment);
    let Some(live) = deployments.into_iter().find(|live| live.name_any() == names.name) else {
        return Ok(history);
    };
    if explains(&history, live) {
        return Ok(history);
    }
    // The cache lags, an apply was cut short, or there is none.
    let revisions = fetch_revisions(context, owner).await?;
    let history = History::read(&names, &revisions);
    let reason = match &history.newest {
        Some(Ok(_)) => return Ok(history),
        Some(Err(reason)) => reason.clone(),
        None => "there is no ControllerRevision".to_owned(),
    };
    let Some(live) = fetch_deployment(context, owner).await? else { return Ok(history) };
    tracing::warn!(reason, "what runs is taken from the Deployment, and kept");
    let rendering = adopt(&live, config(context, owner).as_deref(), rendered);
    Ok(adopted(owner, &history, rendering))
}

/// As if what runs had been written down.
pub(crate) fn adopted(owner: &InferenceDeployment, history: &History, rendering: Rendering) -> History {
    let number = history.last_number + 1;
    let kept = Kept { rendering, spec_hash: inputs_hash(&owner.spec), number };
    History { last_number: number, newest: Some(Ok(kept)) }
}

fn explains(history: &History, live: &DynamicObject) -> bool {
    let Some(Ok(kept)) = &history.newest else { return false };
    contains(&live.data["spec"]["template"], &kept.rendering.template)
}

async fn fetch_revisions(
    context: &Context,
    owner: &InferenceDeployment,
) -> Result<Vec<DynamicObject>, ApplyError> {
    let kind = ChildKind::ControllerRevision;
    let names = Names::of(owner);
    let parameters = ListParams::default().labels(&selector_text(&names.selector()));
    let revisions = api(context, owner, kind).list(&parameters).await;
    let revisions = revisions.map_err(|source| ApplyError::Read { kind, name: names.name, source })?;
    Ok(revisions.items.into_iter().filter(|revision| is_owned(revision, owner)).collect())
}

/// With its managed fields, which the cache leaves out.
async fn fetch_deployment(
    context: &Context,
    owner: &InferenceDeployment,
) -> Result<Option<DynamicObject>, ApplyError> {
    let kind = ChildKind::Deployment;
    let name = owner.name_any();
    let live = api(context, owner, kind).get_opt(&name).await;
    let live = live.map_err(|source| ApplyError::Read { kind, name, source })?;
    Ok(live.filter(|live| is_owned(live, owner)))
}

fn config(context: &Context, owner: &InferenceDeployment) -> Option<String> {
    let namespace = owner.namespace().unwrap_or_default();
    let name = Names::of(owner).config_map();
    let kind = ChildKind::ConfigMap;
    let reference = ObjectRef::new_with(&name, kind.resource()).within(&namespace);
    let object = context.children.get(kind, &reference).filter(|object| is_owned(object, owner))?;
    config_of(&object)
}

pub(crate) fn config_of(config_map: &DynamicObject) -> Option<String> {
    config_map.data["data"][CONFIG_FILE].as_str().map(str::to_owned)
}

fn api(context: &Context, owner: &InferenceDeployment, kind: ChildKind) -> Api<DynamicObject> {
    let namespace = owner.namespace().unwrap_or_default();
    Api::namespaced_with(context.client.clone(), &namespace, &kind.resource())
}
