//! What the operator would change in the cluster: its own building and comparing, on what is there. Where something
//! would be written, a dry run tells what the API server makes of it.

mod held;
mod intended;
mod report;

use anyhow::{Context, Result, anyhow, bail};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use ostro_crds::{InferenceDeployment, InferenceDeploymentSpec};
use serde_json::{Value, json};

use super::Found;
use super::args::PlanArgs;
use super::cluster::{Cluster, SILENCE_LIMIT};
use super::diff::{FieldChange, diff};
use super::explained::explained;
use super::list::{Scope, list};
use super::terminal;
use crate::args::{DEFAULT_IMAGE, namespace, object_name};
use crate::inference_deployment::apply::{ApplyError, MANAGER, is_orphan, is_owned};
use crate::inference_deployment::build::{
    ChildKind, Defaults, HASH_ANNOTATION, History, MANAGED_BY, Prefetch, Prepared, TEMPLATE_HASH_ANNOTATION,
    build, config_map_of, render,
};
use crate::inference_deployment::comparison::{is_unchanged, overlay};
use crate::inference_deployment::hold;
use crate::offline;

/// What would happen to one object.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    kind: String,
    name: String,
    what: What,
    /// Of a workload as it is.
    replicas: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Created,
    /// In the place of one of before, whose name was of its content.
    Replaces(Vec<FieldChange>),
    Changed(Vec<FieldChange>),
    Deleted,
    Unchanged,
}

#[derive(Debug, Default)]
struct Plan {
    changes: Vec<Change>,
    notes: Vec<String>,
}

pub(super) async fn run(args: &PlanArgs) -> Result<Found> {
    let mut cluster = Cluster::connect(&args.cluster, Some(SILENCE_LIMIT)).await?;
    let Some(path) = &args.subject.file else {
        let object = cluster.fetch(args.subject.name.as_deref().unwrap_or_default()).await?;
        return tell(&cluster, &plan_object(&cluster, &object, args.image.as_deref()).await?);
    };
    let own_namespace = cluster.namespace.clone();
    let mut found = Found::Nothing;
    for (object, _) in offline::read(path, args.image.as_deref().unwrap_or(DEFAULT_IMAGE))? {
        check_names(&object)?;
        cluster.namespace = match (object.namespace(), &args.cluster.namespace) {
            (Some(own), Some(other)) if own != *other => {
                bail!("{} is of namespace {own}, and --namespace says {other}", object.name_any())
            }
            (own, _) => own.unwrap_or_else(|| own_namespace.clone()),
        };
        if let Found::Something = tell(&cluster, &plan_file(&cluster, object, args.image.as_deref()).await?)?
        {
            found = Found::Something;
        }
    }
    Ok(found)
}

fn tell(cluster: &Cluster, plan: &Plan) -> Result<Found> {
    for note in &plan.notes {
        eprintln!("note: {}", terminal::lines(note));
    }
    offline::print(&report::text(&cluster.namespace, &plan.changes))?;
    let is_same = plan.changes.iter().all(|change| change.what == What::Unchanged);
    Ok(if is_same { Found::Nothing } else { Found::Something })
}

/// They become parts of URLs.
fn check_names(object: &InferenceDeployment) -> Result<()> {
    let (name, space) = (object.name_any(), object.namespace());
    object_name(&name).map_err(|rule| anyhow!("metadata.name {name:?}: {rule}"))?;
    if let Some(space) = space {
        namespace(&space).map_err(|rule| anyhow!("metadata.namespace {space:?}: {rule}"))?;
    }
    Ok(())
}

/// After `kubectl apply` of the object.
async fn plan_file(cluster: &Cluster, object: InferenceDeployment, image: Option<&str>) -> Result<Plan> {
    let live = cluster.fetch_opt(&object.name_any()).await?;
    let after = intended::intended(cluster, live.as_ref(), &object).await?;
    let what = match &live {
        None => What::Created,
        Some(live) => what_of(&fields(live)?, &fields(&after)?),
    };
    let change =
        Change { kind: "InferenceDeployment".to_owned(), name: object.name_any(), what, replicas: None };
    let mut plan = plan_object(cluster, &after, image).await?;
    plan.changes.insert(0, change);
    Ok(plan)
}

/// Under an operator of this version.
async fn plan_object(cluster: &Cluster, owner: &InferenceDeployment, image: Option<&str>) -> Result<Plan> {
    if owner.metadata.deletion_timestamp.is_some() {
        bail!("InferenceDeployment {} is being deleted: the operator leaves it alone", owner.name_any());
    }
    let mut plan = Plan::default();
    let image = match image {
        Some(image) => image.to_owned(),
        None => default_image(cluster, owner, &mut plan).await?,
    };
    let rendered = owner.spec.validate().and_then(|valid| render(owner, &valid, &Defaults { image }));
    let rendered = rendered.map_err(|problems| anyhow!("{}: {problems}", owner.name_any()))?;
    let found = children_by_kind(cluster).await?;
    let of_kind =
        |kind| found.iter().find(|(found, _)| *found == kind).map(|(_, objects)| objects.as_slice());
    let revisions = of_kind(ChildKind::ControllerRevision).unwrap_or_default();
    let history = held::history(cluster, owner, revisions, &rendered).await?;
    let hold::Plan { kept, pending } = hold::plan(owner, &history, rendered);
    let mut sets = of_kind(ChildKind::StatefulSet).unwrap_or_default().iter();
    if hold::changes_claims(&history, &kept) && sets.any(|set| is_owned(set, owner)) {
        bail!("{}: {}", owner.name_any(), InferenceDeploymentSpec::fixed_claims());
    }
    let configs = of_kind(ChildKind::ConfigMap).unwrap_or_default();
    let running = read_by_pods(owner, &history, configs);
    plan.notes.extend(pending.map(|pending| pending.message(&owner.name_any())));
    let mut prepared = build(owner, &kept);
    let before = history.newest.as_ref().and_then(|newest| newest.as_ref().ok());
    if let Some(prefetch) = Prefetch::before(owner, before, &kept) {
        plan.notes.push(format!("pods change when Job {} has downloaded the models", prefetch.name));
        prepared.extend(prefetch.own().cloned());
    }
    for wanted in &prepared {
        if of_kind(wanted.kind).is_none() {
            let (kind, name) = (wanted.kind, wanted.object.name_any());
            plan.notes.push(format!("{kind:?} {name} is left out: the cluster has no such API"));
            continue;
        }
        let mut change = plan_child(cluster, owner, wanted, &mut plan.notes).await?;
        if let (ChildKind::ConfigMap, What::Created, Some(before)) = (wanted.kind, &change.what, &running) {
            change.what = replaces(before, &wanted.object)?;
        }
        plan.changes.push(change);
    }
    for (kind, objects) in &found {
        let orphans = objects.iter().filter(|object| {
            let is_going = object.metadata.deletion_timestamp.is_some();
            is_owned(*object, owner) && !is_going && is_orphan(*kind, &object.name_any(), &prepared)
        });
        plan.changes.extend(orphans.map(|object| deletion(*kind, object)));
    }
    Ok(plan)
}

/// The configuration of what pods run.
fn read_by_pods<'a>(
    owner: &InferenceDeployment,
    history: &History,
    configs: &'a [DynamicObject],
) -> Option<&'a DynamicObject> {
    let Some(Ok(kept)) = &history.newest else { return None };
    let pod = kept.rendering.pod();
    let name = config_map_of(pod.spec.as_ref()?)?;
    configs.iter().find(|config| is_owned(*config, owner) && config.name_any() == name)
}

fn replaces(before: &DynamicObject, after: &DynamicObject) -> Result<What> {
    Ok(match what_of(&fields(before)?, &fields(after)?) {
        What::Changed(fields) => What::Replaces(fields),
        _ => What::Created,
    })
}

fn deletion(kind: ChildKind, object: &DynamicObject) -> Change {
    let kind = format!("{kind:?}");
    Change { kind, name: object.name_any(), what: What::Deleted, replicas: replicas(&object.data) }
}

/// What there is of each kind that the cluster has.
async fn children_by_kind(cluster: &Cluster) -> Result<Vec<(ChildKind, Vec<DynamicObject>)>> {
    let mut found = Vec::new();
    for kind in ChildKind::ALL.into_iter().chain(ChildKind::OPTIONAL) {
        found.extend(children(cluster, kind).await?.map(|objects| (kind, objects)));
    }
    Ok(found)
}

/// As the operator was started with it: by what it says of objects that name no image.
async fn default_image(cluster: &Cluster, owner: &InferenceDeployment, plan: &mut Plan) -> Result<String> {
    let found = list(cluster, Scope::Namespace).await?.into_iter().flatten();
    let told = found.filter(|object| object.spec.image.is_none()).find_map(|object| {
        let status = object.status.filter(|status| status.observed_generation == object.metadata.generation);
        status?.image
    });
    let image = told.unwrap_or_else(|| {
        if owner.spec.image.is_none() {
            plan.notes
                .push(format!("taking {DEFAULT_IMAGE} as the operator's default; --image says another"));
        }
        DEFAULT_IMAGE.to_owned()
    });
    Ok(image)
}

/// As `apply` decides.
async fn plan_child(
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
        Some(live) if !is_owned(live, owner) => bail!(ApplyError::Foreign { kind, name }),
        Some(live) if is_unchanged(&wanted.object, live) => What::Unchanged,
        Some(live) => {
            let after = match dry_run(&api, wanted, notes).await? {
                Some(after) => after,
                None => serde_json::from_value(overlay(&json!(live), &json!(wanted.object)))?,
            };
            what_of(&fields(live)?, &fields(&after)?)
        }
        None => {
            dry_run(&api, wanted, notes).await?;
            What::Created
        }
    };
    let replicas = live.as_ref().and_then(|live| replicas(&live.data));
    Ok(Change { kind: format!("{kind:?}"), name, what, replicas })
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
        // A quota is Forbidden too, and would stop the operator as well.
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
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}=ostro-operator"));
    match child_api(cluster, kind).list(&ours).await {
        Ok(listed) => Ok(Some(listed.items)),
        Err(kube::Error::Api(status)) if status.code == 404 && ChildKind::OPTIONAL.contains(&kind) => {
            Ok(None)
        }
        Err(error) => Err(explained(error).context(format!("cannot list objects of kind {kind:?}"))),
    }
}

fn child_api(cluster: &Cluster, kind: ChildKind) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind.resource())
}

fn replicas(data: &Value) -> Option<i64> {
    // Only workloads have a template.
    data["spec"].get("template")?;
    Some(data["spec"]["replicas"].as_i64().unwrap_or(1))
}

/// What people write of an object, and not what the API server and kubectl note.
fn fields(object: &impl serde::Serialize) -> Result<Value> {
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
        fields.remove("status");
    }
    Ok(object)
}

fn what_of(before: &Value, after: &Value) -> What {
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

#[cfg(test)]
mod tests;
