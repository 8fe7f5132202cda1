//! What an object's pods were rendered from last, read from the API as the operator reads it.

use anyhow::{Context, Result};
use kube::api::DynamicObject;
use ostro_crds::InferenceDeployment;

use super::children::child_api;
use crate::inference_deployment::build::{ChildKind, History, Names, Rendering};
use crate::inference_deployment::hold::adopt::adopt;
use crate::inference_deployment::hold::fetch::{adopted, config_name, config_of};
use crate::inference_deployment::ownership::{is_own, own};
use crate::kubectl::cluster::Cluster;
use crate::kubectl::explained::explained;

pub(super) async fn history(
    cluster: &Cluster,
    owner: &InferenceDeployment,
    revisions: &[DynamicObject],
    rendered: &Rendering,
) -> Result<History> {
    let names = Names::of(owner);
    let history = History::read(&names, own(revisions, owner));
    if history.kept().is_some() {
        return Ok(history);
    }
    let mut live = None;
    for kind in ChildKind::WORKLOADS {
        live = live.or(own_child(cluster, owner, (kind, &names.name)).await?);
    }
    let Some(live) = live else { return Ok(history) };
    let config = match config_name(&live) {
        Some(name) => own_child(cluster, owner, (ChildKind::ConfigMap, &name)).await?,
        None => None,
    };
    let config = config.as_ref().and_then(config_of);
    Ok(adopted(owner, &history, adopt(&live, config.as_deref(), rendered)))
}

async fn own_child(
    cluster: &Cluster,
    owner: &InferenceDeployment,
    (kind, name): (ChildKind, &str),
) -> Result<Option<DynamicObject>> {
    let found = child_api(cluster, kind).get_opt(name).await.map_err(explained);
    let found = found.with_context(|| format!("cannot read {kind:?} {name}"))?;
    Ok(found.filter(|found| is_own(found, owner)))
}
