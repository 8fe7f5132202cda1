//! What the operator would change in the cluster: its own building and comparing, on what is there. Where something
//! would be written, a dry run tells what the API server makes of it.

mod children;
mod held;
mod intended;
mod report;

use anyhow::{Result, anyhow, bail};
use kube::ResourceExt;
use kube::api::DynamicObject;
use ostro_crds::{ConditionType, InferenceDeployment, InferenceDeploymentSpec, Reason};

use super::Found;
use super::args::PlanArgs;
use super::cluster::{Cluster, SILENCE_LIMIT};
use super::diff::FieldChange;
use super::list::{Scope, list};
use crate::args::{DEFAULT_IMAGE, namespace, object_name};

use crate::inference_deployment::build::{
    ChildKind, Defaults, History, Kept, Prefetch, Prepared, build, config_map_of, prune_job, render,
};
use crate::inference_deployment::hold;
use crate::inference_deployment::orphans::{acts_on_pods, is_orphan};
use crate::inference_deployment::ownership::{is_nobodys, is_own, is_owned};
use crate::inference_deployment::status::pending_reason;
use crate::{offline, terminal};
use children::{children_by_kind, deletion, fields, plan_child, replaces, what_of};

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
    if hold::changes_claims(&history, &kept) && sets.any(|set| is_own(set, owner)) {
        bail!("{}: {}", owner.name_any(), InferenceDeploymentSpec::fixed_claims());
    }
    let configs = of_kind(ChildKind::ConfigMap).unwrap_or_default();
    let running = read_by_pods(owner, &history, configs);
    plan.notes.extend(pending.map(|pending| pending.message(&owner.name_any())));
    let jobs = of_kind(ChildKind::Job).unwrap_or_default();
    let prepared = prepared(owner, (&history, &kept), (jobs, &mut plan.notes));
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
            let name = object.name_any();
            let is_left = || is_nobodys(*object, owner) && acts_on_pods(*kind, &name, owner);
            (is_owned(*object, owner) || is_left()) && !is_going && is_orphan(*kind, &name, &prepared)
        });
        plan.changes.extend(orphans.map(|object| deletion(*kind, object)));
    }
    Ok(plan)
}

/// What is to exist next; of what comes later the notes tell.
fn prepared(
    owner: &InferenceDeployment,
    (history, kept): (&History, &Kept),
    (jobs, notes): (&[DynamicObject], &mut Vec<String>),
) -> Vec<Prepared> {
    let mut prepared = build(owner, kept);
    let prefetch = Prefetch::before(owner, history.kept(), kept);
    if let Some(prefetch) = &prefetch {
        notes.push(format!("pods change when Job {} has downloaded the models", prefetch.name));
        prepared.extend(prefetch.own().cloned());
    }
    if let Some(prune) = prune_job(owner, kept) {
        let name = prune.object.name_any();
        match jobs.iter().any(|job| job.name_any() == name && is_own(job, owner)) {
            true if prefetch.is_none() => prepared.push(prune),
            _ => notes.push(format!(
                "when all pods are of this spec, Job {name} removes from the cache what they do not need"
            )),
        }
    }
    prepared
}

/// The configuration of what pods run.
fn read_by_pods<'a>(
    owner: &InferenceDeployment,
    history: &History,
    configs: &'a [DynamicObject],
) -> Option<&'a DynamicObject> {
    let kept = history.kept()?;
    let pod = kept.rendering.pod();
    let name = config_map_of(pod.spec.as_ref()?)?;
    configs.iter().find(|config| is_own(*config, owner) && config.name_any() == name)
}

/// As the operator was started with it: by what it says of objects that name no image.
async fn default_image(cluster: &Cluster, owner: &InferenceDeployment, plan: &mut Plan) -> Result<String> {
    let found = list(cluster, Scope::Namespace).await?.into_iter().flatten();
    let told = found.filter(has_default_image).find_map(|object| {
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

/// The status has what pods run, which may be held at an earlier default, or be somebody's patch, or be of before a spec
/// that is not applied yet.
fn has_default_image(object: &InferenceDeployment) -> bool {
    let ready = object.status.as_ref().and_then(|status| status.condition(ConditionType::Ready));
    let not_applied = [Reason::InvalidConfig, Reason::ApplyFailed, Reason::Prefetching].map(Reason::as_str);
    let spec = &object.spec;
    spec.image.is_none()
        && spec.pod_template_patch.is_none()
        && pending_reason(object).is_none()
        && !ready.is_some_and(|ready| not_applied.contains(&ready.reason.as_str()))
}

#[cfg(test)]
mod tests;
