//! What an object's pods were rendered from last: from the cache, and from the API where the cache does not explain
//! what runs.

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use ostro_crds::InferenceDeployment;

use super::adopt::adopt;
use crate::inference_deployment::Context;
use crate::inference_deployment::apply::ApplyError;
use crate::inference_deployment::build::{
    CONFIG_FILE, ChildKind, History, Kept, Names, Rendering, config_map_of, inputs_hash,
};
use crate::inference_deployment::cached;
use crate::inference_deployment::children::PAGE;
use crate::inference_deployment::ownership::{is_own, own};
use crate::readable::list_readable;

pub(crate) async fn fetch_history(
    context: &Context,
    owner: &InferenceDeployment,
    rendered: &Rendering,
) -> Result<History, ApplyError> {
    let names = Names::of(owner);
    let known = context.children.own_of_kind(ChildKind::ControllerRevision, owner);
    let revisions: Vec<DynamicObject> = known.iter().filter_map(|(_, revision)| revision.typed()).collect();
    let cached = History::read(&names, &revisions);
    let namespace = owner.namespace().unwrap_or_default();
    let live = ChildKind::WORKLOADS.into_iter().filter_map(|kind| {
        let live = context.children.get(kind, &namespace, &names.name)?;
        live.is_own(owner).then_some((kind, live))
    });
    // Both kinds while one takes the other's place.
    let live: Vec<_> = live.collect();
    let is_enough =
        |history: &History| live.is_empty() || live.iter().any(|(kind, live)| explains(history, *kind, live));
    if is_enough(&cached) {
        return Ok(cached);
    }
    // The cache lags, an apply was cut short, or there is none.
    let revisions = fetch_revisions(context, owner).await?;
    let history = History::read(&names, own(&revisions, owner));
    let Some((kind, _)) = live.first() else { return Ok(history) };
    let reason = match &history.newest {
        Some(Ok(_)) => return Ok(history),
        Some(Err(reason)) => reason.clone(),
        None => "there is no ControllerRevision".to_owned(),
    };
    // With its managed fields, which the cache leaves out, as it does most of a ConfigMap.
    let live = fetch(context, owner, (*kind, &names.name)).await?;
    let Some(live) = live else { return Ok(history) };
    let config = match config_name(&live) {
        Some(name) => fetch(context, owner, (ChildKind::ConfigMap, &name)).await?,
        None => None,
    };
    let config = config.as_ref().and_then(config_of);
    tracing::warn!(reason, "what runs is taken from the cluster, and kept");
    let rendering = adopt(&live, config.as_deref(), rendered);
    Ok(adopted(owner, &history, rendering))
}

/// As if what runs had been written down.
pub(crate) fn adopted(owner: &InferenceDeployment, history: &History, rendering: Rendering) -> History {
    let number = history.last_number + 1;
    let kept = Kept { rendering, spec_hash: inputs_hash(&owner.spec), number };
    History { last_number: number, newest: Some(Ok(kept)) }
}

fn explains(history: &History, kind: ChildKind, live: &cached::Kept) -> bool {
    let Some(kept) = history.kept() else { return false };
    kept.rendering.workload() == kind && live.runs(&kept.rendering.template)
}

/// Their data has no schema, and whoever may write them may give them any labels.
async fn fetch_revisions(
    context: &Context,
    owner: &InferenceDeployment,
) -> Result<Vec<DynamicObject>, ApplyError> {
    let kind = ChildKind::ControllerRevision;
    let names = Names::of(owner);
    let ours = format!("{},{}", names.children(), kind.selector());
    let parameters = ListParams::default().labels(&ours).limit(PAGE);
    let api = api(context, owner, kind);
    let revisions = list_readable(&context.client, api.resource_url(), parameters).await;
    revisions.map_err(|source| ApplyError::Read { kind, name: names.name, source })
}

async fn fetch(
    context: &Context,
    owner: &InferenceDeployment,
    (kind, name): (ChildKind, &str),
) -> Result<Option<DynamicObject>, ApplyError> {
    let live = api(context, owner, kind).get_opt(name).await;
    let live = live.map_err(|source| ApplyError::Read { kind, name: name.to_owned(), source })?;
    Ok(live.filter(|live| is_own(live, owner)))
}

/// That the pods of a workload read.
pub(crate) fn config_name(workload: &DynamicObject) -> Option<String> {
    let pod = serde_json::from_value(workload.data["spec"].pointer("/template/spec")?.clone()).ok()?;
    config_map_of(&pod).map(str::to_owned)
}

pub(crate) fn config_of(config_map: &DynamicObject) -> Option<String> {
    config_map.data["data"][CONFIG_FILE].as_str().map(str::to_owned)
}

fn api(context: &Context, owner: &InferenceDeployment, kind: ChildKind) -> Api<DynamicObject> {
    let namespace = owner.namespace().unwrap_or_default();
    Api::namespaced_with(context.client.clone(), &namespace, &kind.resource())
}
