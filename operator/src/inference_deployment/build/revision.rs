//! What the pods depend on, as it was rendered and by whom, kept in a ControllerRevision: the API server lets nobody
//! change its data. It is named by its content; the one with the highest number counts.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::ObjectMeta;
use ostro_config::Loaded;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config_map::FILE;
use super::names::Names;
use super::{ChildKind, TEMPLATE_HASH_ANNOTATION, content_hash};

/// A pod template with its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rendering {
    /// The operator's version; none for what was found in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renderer: Option<String>,
    /// Not as Kubernetes' type, which drops what only another version knows.
    pub(crate) template: Value,
    /// The daemon's TOML.
    pub(crate) config: String,
    /// Of which a StatefulSet makes each replica's claim; a Deployment has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_claim: Option<Value>,
}

impl Rendering {
    /// Names exactly this rendering: its renderer, and what came out.
    pub(crate) fn id(&self) -> String {
        let renderer = self.renderer.as_deref().unwrap_or("unknown");
        let mut parts = vec![json!(self.template), json!(self.config)];
        parts.extend(self.cache_claim.clone());
        format!("{renderer}-{}", content_hash(&parts.into()))
    }

    /// As its pods have it.
    pub(crate) fn template_hash(&self) -> Option<&str> {
        self.template["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION].as_str()
    }

    /// The kind that makes the pods.
    pub(crate) fn workload(&self) -> ChildKind {
        if self.cache_claim.is_some() { ChildKind::StatefulSet } else { ChildKind::Deployment }
    }

    /// Of the models that it serves; none where this version cannot read its configuration.
    pub(crate) fn models(&self) -> Option<Vec<String>> {
        let daemon = Loaded::from_toml(FILE, &self.config).ok()?;
        Some(daemon.config.models.iter().map(|model| model.model_id.to_string()).collect())
    }

    /// Checked when it was read.
    pub(crate) fn pod(&self) -> PodTemplateSpec {
        serde_json::from_value(self.template.clone()).unwrap_or_default()
    }
}

/// A rendering that pods run, and for which inputs it was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) rendering: Rendering,
    pub(crate) spec_hash: String,
    /// The newest has the highest.
    pub(crate) number: i64,
}

/// What revisions there are of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    /// 0 without any.
    pub(crate) last_number: i64,
    /// Why the newest one cannot be read.
    pub(crate) newest: Option<Result<Kept, String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    spec_hash: String,
    #[serde(flatten)]
    rendering: Rendering,
}

pub(super) fn build(names: &Names, kept: &Kept) -> ControllerRevision {
    let data = data(kept);
    ControllerRevision {
        metadata: ObjectMeta { name: Some(name(names, &data)), ..ObjectMeta::default() },
        data: RawExtension(data),
        revision: Some(kept.number),
    }
}

fn data(kept: &Kept) -> Value {
    let data = Data { spec_hash: kept.spec_hash.clone(), rendering: kept.rendering.clone() };
    serde_json::to_value(data).expect("texts and JSON are JSON")
}

fn name(names: &Names, data: &Value) -> String {
    format!("{}-{}", names.name, content_hash(data))
}

impl History {
    /// What pods run, where that can be read.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.newest.as_ref()?.as_ref().ok()
    }

    pub(crate) fn read<'a>(names: &Names, objects: impl IntoIterator<Item = &'a DynamicObject>) -> History {
        let newest = newest(objects);
        History {
            last_number: newest.map(number).unwrap_or_default(),
            newest: newest.map(|object| {
                read(names, object, number(object))
                    .map_err(|reason| format!("ControllerRevision {} {reason}", object.name_any()))
            }),
        }
    }
}

fn newest<'a>(objects: impl IntoIterator<Item = &'a DynamicObject>) -> Option<&'a DynamicObject> {
    objects.into_iter().max_by_key(|object| (number(object), object.name_any()))
}

fn number(object: &DynamicObject) -> i64 {
    object.data["revision"].as_i64().unwrap_or_default()
}

fn read(names: &Names, object: &DynamicObject, number: i64) -> Result<Kept, String> {
    let data = &object.data["data"];
    let Data { spec_hash, rendering } = serde_path_to_error::deserialize(data)
        .map_err(|error| format!("is not the operator's: data.{}: {}", error.path(), error.inner()))?;
    if object.name_any() != name(names, data) {
        return Err("is not as it was written: its data is not what its name says".to_owned());
    }
    let pod: PodTemplateSpec = serde_path_to_error::deserialize(&rendering.template)
        .map_err(|error| format!("has no pod template: data.template.{}: {}", error.path(), error.inner()))?;
    let labels = pod.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
    if names.selector().iter().any(|(label, value)| labels.get(label) != Some(value)) {
        return Err("is of other pods: data.template.metadata.labels do not fit".to_owned());
    }
    Ok(Kept { rendering, spec_hash, number })
}

#[cfg(test)]
mod tests;
