//! The Grafana dashboards of the operator's chart, as its files have them.

use serde_json::Value;

/// Names and texts.
pub const DASHBOARDS: [(&str, &str); 2] = [
    ("models", include_str!("../../../charts/ostro-operator/files/dashboards/models.json")),
    ("operator", include_str!("../../../charts/ostro-operator/files/dashboards/operator.json")),
];

pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Of a dashboard, or of a row that is closed: those of an open row stand beside it.
pub fn panels(level: &Value) -> &[Value] {
    level["panels"].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn all_panels(dashboard: &Value) -> Vec<&Value> {
    panels(dashboard).iter().flat_map(|panel| [panel].into_iter().chain(panels(panel))).collect()
}

/// Of every panel, as they are written.
pub fn queries(dashboard: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for panel in all_panels(dashboard) {
        let targets = panel["targets"].as_array().into_iter().flatten();
        found.extend(targets.map(|target| target["expr"].as_str().unwrap()));
    }
    found
}

/// Of a metric, a label or a variable.
pub fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_:".contains(character)
}

/// Each use of a metric in a query: its name, and what is between its braces.
pub fn selectors(query: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = query.split('{').collect();
    let uses = parts.windows(2).map(|pair| (last_name(pair[0]), pair[1].split('}').next().unwrap()));
    uses.collect()
}

fn last_name(text: &str) -> &str {
    text.rsplit(|character: char| !is_of_name(character)).next().unwrap()
}
