//! The ServiceMonitor or PodMonitor by which a Prometheus finds the daemon's metrics. The daemon asks for no token.

use kube::api::{DynamicObject, TypeMeta};
use kube::core::ObjectMeta;
use ostro_crds::{InferenceDeploymentSpec, MonitorKind, Monitoring};
use serde_json::{Map, Value, json};

use super::ChildKind;
use super::names::Names;

const API_VERSION: &str = "monitoring.coreos.com/v1";
const PATH: &str = "/metrics";

/// Of the monitor that an object wants.
pub(crate) fn kind(spec: &InferenceDeploymentSpec) -> Option<ChildKind> {
    let monitoring = spec.monitoring.as_ref()?;
    Some(match monitoring.kind.unwrap_or_default() {
        MonitorKind::ServiceMonitor => ChildKind::ServiceMonitor,
        MonitorKind::PodMonitor => ChildKind::PodMonitor,
    })
}

pub(super) fn build(names: &Names, spec: &InferenceDeploymentSpec, of: ChildKind) -> Option<DynamicObject> {
    let monitoring = spec.monitoring.as_ref().filter(|_| kind(spec) == Some(of))?;
    let endpoints = match of {
        ChildKind::PodMonitor => "podMetricsEndpoints",
        _ => "endpoints",
    };
    Some(DynamicObject {
        types: Some(TypeMeta { api_version: API_VERSION.to_owned(), kind: format!("{of:?}") }),
        metadata: ObjectMeta {
            name: Some(names.name.clone()),
            labels: (!monitoring.labels.is_empty()).then(|| monitoring.labels.clone()),
            ..ObjectMeta::default()
        },
        data: json!({ "spec": {
            "selector": { "matchLabels": names.selector() },
            endpoints: [endpoint(monitoring)],
        } }),
    })
}

/// The port's name is that of the Service and of the container.
fn endpoint(monitoring: &Monitoring) -> Map<String, Value> {
    let Monitoring { interval, scrape_timeout, kind: _, labels: _ } = monitoring;
    let mut endpoint = Map::from_iter([("port".to_owned(), "http".into()), ("path".to_owned(), PATH.into())]);
    let times = [("interval", interval), ("scrapeTimeout", scrape_timeout)];
    endpoint
        .extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time.clone()?.into()))));
    endpoint
}
