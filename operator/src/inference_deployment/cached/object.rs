//! What the cache keeps of an `InferenceDeployment`: all that a reconcile reads, as text, and what is asked of all of
//! them at once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ObjectMeta;
use ostro_config::{Place, Problem};
use ostro_crds::{
    ConditionType, InferenceDeployment, InferenceDeploymentSpec, InferenceDeploymentStatus, Reason, too_large,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::sent::SentMetadata;
use super::short;
use super::text::{Packer, Text};
use crate::inference_deployment::build::{ChildKind, monitor_kind};
use crate::inference_deployment::hold::RELEASE_ANNOTATION;
use crate::inference_deployment::status::pending_reason;

/// Names of a field that are told, `spec` among them; what lies deeper says no more.
const PATH_MAX: usize = 9;
/// Several times what releases a template; an annotation may have 256 KiB.
const RELEASE_CHARS_MAX: usize = 256;

/// As the API server sends it.
#[derive(Deserialize)]
struct Sent {
    metadata: SentMetadata,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Sent")]
pub(crate) struct CachedObject {
    metadata: ObjectMeta,
    text: Text,
    /// That it asks for.
    pub(crate) monitor: Option<ChildKind>,
    /// Why its template waits, as its status says.
    pub(crate) pending: Option<Reason>,
    /// Its status is not of its latest spec.
    pub(crate) is_behind: bool,
    /// What the schema lets through, and is too large or not to be read by the spec's types. Then there is no spec but its
    /// replicas.
    pub(crate) unreadable: Option<Box<Problem>>,
}

impl From<Sent> for CachedObject {
    fn from(Sent { metadata, spec, status }: Sent) -> Self {
        let mut metadata: ObjectMeta = metadata.into();
        // Others' may be as large as the object.
        (metadata.labels, metadata.owner_references) = (None, None);
        metadata.annotations = metadata.annotations.map(|mut annotations| {
            annotations.retain(|key, _| key == RELEASE_ANNOTATION);
            let cut = |text: String| text.chars().take(RELEASE_CHARS_MAX).collect();
            annotations.into_iter().map(|(key, text)| (key, cut(text))).collect()
        });
        let spec = spec.as_deref().map_or("null", RawValue::get);
        let (spec, unreadable) = match read_spec(spec) {
            Ok(spec) => (spec, None),
            Err(problem) => (replicas_of(spec), Some(Box::new(problem))),
        };
        let status = status.as_deref().map(|status| read_status(status.get()));
        let object = InferenceDeployment { metadata, spec, status };
        let text = serde_json::to_string(&object).expect("the types are JSON").into();
        CachedObject {
            metadata: short(&object.metadata),
            text,
            monitor: monitor_kind(&object.spec),
            pending: pending_reason(&object),
            is_behind: is_behind(&object),
            unreadable,
        }
    }
}

fn is_behind(object: &InferenceDeployment) -> bool {
    let seen = object.status.as_ref().and_then(|status| status.observed_generation);
    object.metadata.deletion_timestamp.is_none() && seen != object.metadata.generation
}

/// Others may have conditions of their own there, such as nobody can read. What cannot be read is written anew.
fn read_status(json: &str) -> InferenceDeploymentStatus {
    let mut status: Value = ostro_json::from_slice(json.as_bytes()).unwrap_or_default();
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| {
            Condition::deserialize(condition).is_ok_and(|condition| ConditionType::is_own(&condition.type_))
        });
    }
    serde_json::from_value(status).unwrap_or_default()
}

/// At the depth at which it is kept: JSON is not read at every depth.
fn read_spec(json: &str) -> Result<InferenceDeploymentSpec, Problem> {
    #[derive(Deserialize)]
    struct Whole {
        spec: InferenceDeploymentSpec,
    }
    if let Some(problem) = too_large(json.len()) {
        return Err(problem);
    }
    if let Err(error) = ostro_json::check_keys(json.as_bytes()) {
        let message = error.to_string();
        return Err(Problem { place: Place::Default, key: "spec".to_owned(), value: None, message });
    }
    let whole = format!(r#"{{"spec":{json}}}"#);
    let read: Result<Whole, _> =
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&whole));
    read.map(|Whole { spec }| spec).map_err(|error| {
        let names = error.path().iter().take(PATH_MAX).map(ToString::to_string);
        let message = format!("cannot be read: {}", error.inner());
        let key = names.collect::<Vec<_>>().join(".");
        Problem { place: Place::Default, key, value: None, message }
    })
}

/// For a status that counts pods as they are wanted.
fn replicas_of(json: &str) -> InferenceDeploymentSpec {
    #[derive(Default, Deserialize)]
    struct Spec {
        replicas: Option<i32>,
    }
    let Spec { replicas } = serde_json::from_str(json).unwrap_or_default();
    InferenceDeploymentSpec { replicas, ..InferenceDeploymentSpec::default() }
}

impl CachedObject {
    pub(crate) fn object(&self) -> InferenceDeployment {
        self.text.parse().expect("it was written here")
    }

    /// Not beside the text: each of kube's keys would have it too.
    pub(crate) fn kept_uid(&self) -> String {
        #[derive(Deserialize)]
        struct Named {
            metadata: ObjectMeta,
        }
        let named = self.text.parse::<Named>().ok();
        named.and_then(|Named { metadata }| metadata.uid).unwrap_or_default()
    }

    pub(crate) fn pack(&mut self, packer: &mut Packer) {
        packer.pack(&mut self.text);
        // The watch has read it, and each of kube's keys would have it too.
        self.metadata.resource_version = None;
    }
}

resource_as!(CachedObject, InferenceDeployment);

#[cfg(test)]
mod tests;
