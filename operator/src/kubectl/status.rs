//! An object, its workload and its pods as they are, and whether the object is ready.

mod tree;

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, TypeMeta};
use ostro_crds::{ConditionType, InferenceDeployment, ModelStatus, Phase};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Found;
use super::args::{Output, StatusArgs};
use super::cluster::{Cluster, SILENCE_LIMIT};
use super::explained::explained;
use super::list::{Listed, Scope, Unreadable, list};
use crate::inference_deployment::build::{CONTAINER, ChildKind, MANAGED_BY, Purpose, instance_of};
use crate::inference_deployment::cached::{Task, made_for};
use crate::inference_deployment::daemons::is_ready;
use crate::inference_deployment::ownership::is_own;
use crate::offline;
use crate::readable::list_readable;

/// A label that Kubernetes gives pods of Jobs.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// What is shown of one object.
#[derive(Clone, Debug, Default, Serialize)]
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
    /// That has made it, to download models.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
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
    let scope = if args.all_namespaces { Scope::Everywhere } else { Scope::Namespace };
    let objects = match &args.name {
        Some(name) => vec![Ok(cluster.fetch(name).await?)],
        None => list(&cluster, scope).await?,
    };
    let children = children(&cluster, scope).await?;
    if !children.hidden.is_empty() {
        eprintln!("note: you may not list {}, so they are not shown", children.hidden.join(", "));
    }
    let views = views(&objects, &children);
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

/// By the object that they are of.
type ByOwner<K> = BTreeMap<(String, String), Vec<K>>;

/// What the operator made of objects.
struct Children {
    workloads: ByOwner<DynamicObject>,
    pods: ByOwner<Pod>,
    /// What the caller may not list.
    hidden: Vec<String>,
}

async fn children(cluster: &Cluster, scope: Scope) -> Result<Children> {
    let (client, mut hidden, mut workloads) = (cluster.client.clone(), Vec::new(), Vec::new());
    for kind in ChildKind::WORKLOADS {
        let types = kind.resource();
        let api: Api<DynamicObject> = match scope {
            Scope::Namespace => Api::namespaced_with(client.clone(), &cluster.namespace, &types),
            Scope::Everywhere => Api::all_with(client.clone(), &types),
        };
        let mut listed = list_ours(api, &types.plural, &mut hidden).await?;
        // Items of a list need not say it.
        let types = TypeMeta { api_version: types.api_version, kind: types.kind };
        listed.iter_mut().for_each(|object| object.types = Some(types.clone()));
        workloads.extend(listed);
    }
    let pods: Api<Pod> = match scope {
        Scope::Namespace => cluster.api(),
        Scope::Everywhere => Api::all(client),
    };
    let pods = list_ours(pods, "pods", &mut hidden).await?;
    let workloads = by_owner(workloads, |workload| instance_of(workload.labels()));
    Ok(Children { workloads, pods: by_owner(pods, pod_of), hidden })
}

/// Nothing where the caller may not ask.
async fn list_ours<K>(api: Api<K>, plural: &str, hidden: &mut Vec<String>) -> Result<Vec<K>>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}=ostro-operator"));
    let url = api.resource_url().to_owned();
    match list_readable(&api.into_client(), &url, ours).await {
        Ok(listed) => Ok(listed),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            hidden.push(plural.to_owned());
            Ok(Vec::new())
        }
        Err(error) => Err(explained(error).context(format!("cannot list {plural}"))),
    }
}

fn views(objects: &[Listed], children: &Children) -> Vec<View> {
    let views = objects.iter().map(|object| {
        let owner = match object {
            Ok(object) => (object.namespace().unwrap_or_default(), object.name_any()),
            Err(object) => (object.namespace.clone(), object.name.clone()),
        };
        // Anybody may give the labels. Of an object that cannot be read it is not known what it owns.
        let workloads = children.workloads.get(&owner).into_iter().flatten();
        let workloads = workloads.filter(|workload| match object {
            Ok(object) => is_own(*workload, object),
            Err(_) => true,
        });
        let pods = children.pods.get(&owner).into_iter().flatten();
        let of_object = object.as_ref().map_or_else(unreadable, view);
        View { workloads: workloads.map(workload).collect(), pods: pods.map(pod).collect(), ..of_object }
    });
    views.collect()
}

/// By the namespace and the name of the object that `owner_of` tells.
fn by_owner<K: ResourceExt>(objects: Vec<K>, owner_of: impl Fn(&K) -> Option<&str>) -> ByOwner<K> {
    let mut found: ByOwner<K> = BTreeMap::new();
    for object in objects {
        if let Some(owner) = owner_of(&object) {
            let owner = (object.namespace().unwrap_or_default(), owner.to_owned());
            found.entry(owner).or_default().push(object);
        }
    }
    found
}

/// The object that a pod is of, as the operator tells it; one that prunes is no replica, and nobody waits for it.
fn pod_of(pod: &Pod) -> Option<&str> {
    let (name, task) = made_for(&pod.metadata)?;
    (task != Task::Job(Purpose::Prune)).then_some(name)
}

/// But for its children.
fn view(object: &InferenceDeployment) -> View {
    let status = object.status.clone().unwrap_or_default();
    let ready = status.condition(ConditionType::Ready);
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
        ..View::default()
    }
}

fn unreadable(object: &Unreadable) -> View {
    View {
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        message: format!("error: this version cannot read it: {}", object.why),
        ..View::default()
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
        job: pod.labels().get(JOB_NAME).cloned(),
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
