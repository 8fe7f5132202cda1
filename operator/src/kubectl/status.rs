//! An object, its workload and its pods as they are, and whether the object is ready.

mod tree;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, TypeMeta};
use ostro_crds::{ConditionType, InferenceDeployment, ModelStatus, Phase};
use serde::Serialize;
use serde_json::json;

use super::Found;
use super::args::{Output, StatusArgs};
use super::cluster::{Cluster, SILENCE_LIMIT};
use super::explained::explained;
use crate::inference_deployment::build::{CONTAINER, ChildKind, MANAGED_BY, instance_of};
use crate::inference_deployment::daemons::is_ready;
use crate::offline;

/// What is shown of one object.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    namespace: String,
    name: String,
    /// That all is as the latest spec wants it.
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    /// Why it is not ready, and what to do.
    message: String,
    conditions: Vec<Condition>,
    models: Vec<ModelStatus>,
    replicas_wanted: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    workloads: Vec<Workload>,
    pods: Vec<PodView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Workload {
    kind: String,
    name: String,
    replicas: i64,
    ready: i64,
    updated: i64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodView {
    name: String,
    /// As the kubelet says, or why the container does not run.
    phase: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    restarts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
}

pub(super) async fn run(args: &StatusArgs) -> Result<Found> {
    let cluster = Cluster::connect(&args.cluster, Some(SILENCE_LIMIT)).await?;
    let views = match &args.name {
        Some(name) => {
            let object = cluster.fetch(name).await?;
            views(&cluster, Scope::Namespace, vec![object]).await?
        }
        None => {
            let scope = if args.all_namespaces { Scope::Everywhere } else { Scope::Namespace };
            let objects = list(&cluster, scope).await?;
            views(&cluster, scope, objects).await?
        }
    };
    match (args.output, &args.name) {
        (Output::Json, Some(_)) => print_json(&views[0])?,
        (Output::Json, None) => print_json(&json!({ "items": views }))?,
        (Output::Tree, _) if views.is_empty() => eprintln!("there are no InferenceDeployments here"),
        (Output::Tree, _) => offline::print(&tree::text(&views, Timestamp::now()))?,
    }
    Ok(if views.iter().all(|view| view.ready) { Found::Nothing } else { Found::Something })
}

fn print_json(value: &impl Serialize) -> Result<()> {
    offline::print(&(serde_json::to_string_pretty(value)? + "\n"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Namespace,
    Everywhere,
}

async fn list(cluster: &Cluster, scope: Scope) -> Result<Vec<InferenceDeployment>> {
    let api = match scope {
        Scope::Namespace => cluster.api(),
        Scope::Everywhere => Api::all(cluster.client.clone()),
    };
    Ok(api.list(&ListParams::default()).await.map_err(explained)?.items)
}

async fn views(cluster: &Cluster, scope: Scope, objects: Vec<InferenceDeployment>) -> Result<Vec<View>> {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}=ostro-operator"));
    let client = cluster.client.clone();
    let pods: Api<Pod> = match scope {
        Scope::Namespace => cluster.api(),
        Scope::Everywhere => Api::all(client.clone()),
    };
    let pods = pods.list(&ours).await.map_err(explained).context("cannot list pods")?;
    let pods = by_owner(pods.items);
    let mut workloads = Vec::new();
    for kind in ChildKind::WORKLOADS {
        let api: Api<DynamicObject> = match scope {
            Scope::Namespace => Api::namespaced_with(client.clone(), &cluster.namespace, &kind.resource()),
            Scope::Everywhere => Api::all_with(client.clone(), &kind.resource()),
        };
        let listed = api.list(&ours).await.map_err(explained);
        let mut listed = listed.with_context(|| format!("cannot list objects of kind {kind:?}"))?.items;
        // Items of a list need not say it.
        let types = kind.resource();
        let types = TypeMeta { api_version: types.api_version, kind: types.kind };
        listed.iter_mut().for_each(|object| object.types = Some(types.clone()));
        workloads.extend(listed);
    }
    let workloads = by_owner(workloads);
    let views = objects.iter().map(|object| {
        let owner = (object.namespace().unwrap_or_default(), object.name_any());
        let pods = pods.get(&owner).map(Vec::as_slice).unwrap_or_default();
        view(object, workloads.get(&owner).map(Vec::as_slice).unwrap_or_default(), pods)
    });
    Ok(views.collect())
}

/// By the namespace and name of the object that their labels name.
fn by_owner<K: ResourceExt>(objects: Vec<K>) -> BTreeMap<(String, String), Vec<K>> {
    let mut found: BTreeMap<(String, String), Vec<K>> = BTreeMap::new();
    for object in objects {
        if let Some(owner) = instance_of(object.labels()) {
            let owner = (object.namespace().unwrap_or_default(), owner.to_owned());
            found.entry(owner).or_default().push(object);
        }
    }
    found
}

fn view(object: &InferenceDeployment, workloads: &[DynamicObject], pods: &[Pod]) -> View {
    let status = object.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
    let is_current = status.observed_generation == object.metadata.generation;
    let message = match ready {
        None => "the operator has not seen it yet; does it run, and watch this namespace?".to_owned(),
        Some(_) if !is_current => "the operator has not seen the latest change yet; does it run?".to_owned(),
        Some(ready) => format!("{}: {}", ready.reason, ready.message),
    };
    View {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        ready: is_current && ready.is_some_and(|ready| ready.status == "True"),
        phase: status.phase,
        message,
        conditions: status.conditions,
        models: status.models,
        replicas_wanted: object.spec.replicas.unwrap_or(1),
        endpoint: status.endpoint,
        workloads: workloads.iter().map(workload).collect(),
        pods: pods.iter().map(pod).collect(),
    }
}

fn workload(object: &DynamicObject) -> Workload {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let count = |name: &str| status[name].as_i64().unwrap_or(0);
    Workload {
        kind: object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default(),
        name: object.name_any(),
        replicas: spec["replicas"].as_i64().unwrap_or(1),
        ready: count("readyReplicas"),
        updated: count("updatedReplicas"),
    }
}

fn pod(pod: &Pod) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let container = containers.iter().find(|container| container.name == CONTAINER);
    let phase = match pod.metadata.deletion_timestamp {
        Some(_) => "Terminating".to_owned(),
        None => container.and_then(trouble).or(status.phase).unwrap_or_else(|| "Unknown".to_owned()),
    };
    PodView {
        name: pod.name_any(),
        phase,
        ready: is_ready(pod),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        restarts: container.map_or(0, |container| container.restart_count),
        created: pod.creation_timestamp().map(|time| time.0),
    }
}

/// Why the container does not run.
fn trouble(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    waiting.or_else(|| state.terminated.as_ref().and_then(|terminated| terminated.reason.clone()))
}

#[cfg(test)]
mod tests;
