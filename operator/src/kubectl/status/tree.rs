//! Objects as a tree of lines.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use ostro_crds::{ConditionType, ModelState, ModelStatus};

use super::{PodView, View, Workload};
use crate::terminal;

/// A line and those below it.
#[derive(Default)]
struct Branch {
    text: String,
    branches: Vec<Branch>,
}

/// `now` is what ages are counted to.
pub(super) fn text(views: &[View], now: Timestamp) -> String {
    let mut text = String::new();
    for view in views {
        let branch = object(view, now);
        text.push_str(&(terminal::line(&branch.text) + "\n"));
        grow(&mut text, "", &branch.branches);
    }
    text
}

fn grow(text: &mut String, indent: &str, branches: &[Branch]) {
    for (index, branch) in branches.iter().enumerate() {
        let is_last = index + 1 == branches.len();
        let (mark, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        text.push_str(&format!("{indent}{mark}{}\n", terminal::line(&branch.text)));
        grow(text, &format!("{indent}{below}"), &branch.branches);
    }
}

fn object(view: &View, now: Timestamp) -> Branch {
    let phase = view.phase.map_or_else(|| "Unknown".to_owned(), |phase| format!("{phase:?}"));
    let text = format!("InferenceDeployment {}/{}  {phase}", view.namespace, view.name);
    let mut branches: Vec<Branch> = view.message.lines().map(leaf).collect();
    branches.extend(beside(view).flat_map(|text| text.lines().map(leaf).collect::<Vec<_>>()));
    let conditions = view.conditions.iter().map(|condition| {
        [condition.type_.clone(), condition.status.clone(), condition.reason.clone()].into()
    });
    branches.push(Branch { text: "conditions".to_owned(), branches: columns(conditions.collect()) });
    branches.extend(view.models.iter().map(|status| leaf(&model(status, view.replicas_wanted))));
    branches.extend(view.endpoint.iter().map(|endpoint| leaf(&format!("endpoint {endpoint}"))));
    branches.extend(jobs(&view.pods, now));
    let pods = pods(view.pods.iter().filter(|pod| pod.job.is_none()), now);
    match view.workloads.as_slice() {
        [] => branches.extend(pods),
        // An object has one workload, whose pods they are.
        [first, others @ ..] => {
            branches.extend(others.iter().map(|other| leaf(&workload(other))));
            branches.push(Branch { text: workload(first), branches: pods });
        }
    }
    branches.retain(|branch| branch.text != "conditions" || !branch.branches.is_empty());
    Branch { text, branches }
}

/// What waits for a person, and how to release it; and what is not as asked for, though pods are ready.
fn beside(view: &View) -> impl Iterator<Item = String> {
    let told = [
        (ConditionType::TemplateUpdatePending, "True"),
        (ConditionType::Monitored, "False"),
        (ConditionType::CachePruned, "False"),
    ];
    let is_told = move |one: &&Condition| {
        told.iter().any(|(kind, status)| one.type_ == kind.as_str() && one.status == *status)
    };
    view.conditions
        .iter()
        .filter(is_told)
        .map(|condition| format!("{}: {}", condition.reason, condition.message))
}

fn model(model: &ModelStatus, wanted: i32) -> String {
    let mut text = format!("model {}  loaded in {} of {wanted} replicas", model.id, model.replicas_loaded);
    if let Some(state) = model.state.filter(|state| *state != ModelState::Loaded) {
        text.push_str(&format!("  {state:?}"));
        text.extend(model.message.iter().map(|message| format!(": {message}")));
    }
    text
}

fn workload(workload: &Workload) -> String {
    let Workload { kind, name, replicas, ready, updated } = workload;
    format!("{kind} {name}  {ready} of {replicas} ready, {updated} with this spec")
}

/// With their pods.
fn jobs(all: &[PodView], now: Timestamp) -> Vec<Branch> {
    let names: BTreeSet<&str> = all.iter().filter_map(|pod| pod.job.as_deref()).collect();
    let job = |name: &str| {
        let of_job = all.iter().filter(|pod| pod.job.as_deref() == Some(name));
        Branch { text: format!("Job {name}"), branches: pods(of_job, now) }
    };
    names.into_iter().map(job).collect()
}

fn pods<'a>(pods: impl Iterator<Item = &'a PodView>, now: Timestamp) -> Vec<Branch> {
    columns(pods.map(|pod| pod_columns(pod, now)).collect())
}

fn pod_columns(pod: &PodView, now: Timestamp) -> Vec<String> {
    let restarts = if pod.restarts == 1 { "restart" } else { "restarts" };
    vec![
        format!("Pod {}", pod.name),
        pod.phase.clone(),
        if pod.ready { "ready" } else { "not ready" }.to_owned(),
        pod.node.clone().unwrap_or_else(|| "no node".to_owned()),
        format!("{} {restarts}", pod.restarts),
        pod.created.map_or_else(|| "?".to_owned(), |created| age(now.duration_since(created).as_secs())),
    ]
}

/// As `kubectl get` has it, with the larger unit only.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn leaf(text: &str) -> Branch {
    Branch { text: text.to_owned(), branches: Vec::new() }
}

/// Rows of the same number of cells, aligned.
fn columns(rows: Vec<Vec<String>>) -> Vec<Branch> {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        leaf(cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
