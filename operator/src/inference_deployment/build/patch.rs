//! `podTemplatePatch`: Kubernetes' strategic merge of an object's patch into the pod template, and what must hold for
//! what comes out. Pure. New items of a list come last.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use ostro_config::{Place, Problem, Problems};
use ostro_crds::InferenceDeploymentSpec;
use serde_json::{Map, Value};

use super::names::Names;

mod merge;
mod rules;

pub(crate) use merge::merge_key;

pub(super) const FIELD: &str = "spec.podTemplatePatch";
const BYTES_MAX: usize = 32 << 10;

/// What is wrong, and where in the template.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    /// As in `spec.containers[0].image`; empty is the template itself.
    path: String,
    message: String,
}

impl Fault {
    fn new(path: &str, message: impl Into<String>) -> Fault {
        Fault { path: path.to_owned(), message: message.into() }
    }
}

/// The template as it was, where the object has no patch.
pub(super) fn apply(
    names: &Names,
    spec: &InferenceDeploymentSpec,
    template: PodTemplateSpec,
) -> Result<PodTemplateSpec, Problems> {
    let Some(patch) = &spec.pod_template_patch else { return Ok(template) };
    let json = serde_json::to_value(&template).expect("Kubernetes types are JSON");
    let merged = check_size(patch).and_then(|()| merge::merge(json, patch));
    let patched = merged.and_then(|patched| rules::check(names, spec, (&template, &patched)));
    patched.map_err(|Fault { path, message }| {
        let key = if path.is_empty() { FIELD.to_owned() } else { format!("{FIELD}.{path}") };
        Problems(vec![Problem { place: Place::Default, key, value: None, message }])
    })
}

/// Every item of a list is looked for in the other: the time of one object's patch is all objects' time.
fn check_size(patch: &Map<String, Value>) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(patch).expect("it came as JSON").len();
    if bytes <= BYTES_MAX {
        return Ok(());
    }
    Err(Fault {
        path: String::new(),
        message: format!("must have at most {BYTES_MAX} bytes as JSON, and has {bytes}"),
    })
}

#[cfg(test)]
mod tests;
