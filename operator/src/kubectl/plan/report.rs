//! A plan as text: objects, their fields, and what becomes of pods.

use super::{Change, What};
use crate::inference_deployment::build::ChildKind;
use crate::terminal;

const TEMPLATE: &str = "spec.template.";
const CONFIG_NAME: &str = "[config].configMap.name";

pub(super) fn text(namespace: &str, changes: &[Change]) -> String {
    let mut lines = vec![format!("namespace {namespace}")];
    for change in changes {
        let (sign, fields) = match &change.what {
            What::Created => ("+", Vec::new()),
            What::Replaces(fields) => ("+", fields.iter().map(|field| field.text()).collect()),
            What::Changed(fields) => ("~", fields.iter().map(|field| field.text()).collect()),
            What::Deleted => ("-", Vec::new()),
            What::Unchanged => ("=", Vec::new()),
        };
        lines.push(format!("{sign} {} {}", change.kind, change.name));
        lines.extend(fields.iter().flat_map(|field| field.lines()).map(|line| format!("    {line}")));
    }
    lines.push(String::new());
    let pods: Vec<String> = changes.iter().filter(|change| has_pods(change)).flat_map(pods).collect();
    lines.extend(if pods.is_empty() { vec!["no pod restarts".to_owned()] } else { pods });
    lines.iter().map(|line| terminal::line(line) + "\n").collect()
}

fn has_pods(change: &Change) -> bool {
    let is_workload = ChildKind::WORKLOADS.iter().any(|kind| format!("{kind:?}") == change.kind);
    change.replicas.is_some() || (is_workload && change.what == What::Created)
}

/// Of one workload.
fn pods(change: &Change) -> Vec<String> {
    let workload = format!("{} {}", change.kind, change.name);
    let count = pods_of(change.replicas.unwrap_or(0));
    let fields = match &change.what {
        What::Created => return vec![format!("pods of {workload} start: it is new")],
        What::Deleted => return vec![format!("{count} of {workload} end: it is deleted")],
        What::Unchanged | What::Replaces(_) => return Vec::new(),
        What::Changed(fields) => fields,
    };
    let template = fields.iter().filter_map(|field| field.path.strip_prefix(TEMPLATE));
    let reasons: Vec<String> = template.map(reason).collect();
    let scaled = fields.iter().find(|field| field.path == "spec.replicas");
    let scaled = scaled.and_then(|field| Some((field.old.as_ref()?, field.new.as_ref()?)));
    let mut lines = Vec::new();
    match (reasons.is_empty(), change.replicas) {
        (true, _) => lines.push("no pod restarts".to_owned()),
        (false, Some(0)) => lines.push(format!("no pod restarts: {workload} has none")),
        (false, _) => {
            lines.push(format!("{count} of {workload} restart, since these of their template change:"));
            lines.extend(reasons.into_iter().map(|reason| format!("    {reason}")));
        }
    }
    lines.extend(scaled.map(|(old, new)| format!("{workload} goes from {old} to {new} replicas")));
    lines
}

fn reason(path: &str) -> String {
    match path.ends_with(CONFIG_NAME) {
        true => format!("{path} (the daemon's configuration)"),
        false => path.to_owned(),
    }
}

fn pods_of(count: i64) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("all {count} pods") }
}
