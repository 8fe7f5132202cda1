//! Writes an object's status, and tells of its transitions by events.

mod pace;
mod told;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use ostro_crds::{ConditionType, InferenceDeployment, InferenceDeploymentStatus, Reason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use pace::{Pace, burst};
pub(crate) use told::Told;

use super::apply::MANAGER;
use super::status::transitions;
use super::{Context, ReconcileError};
use crate::going::is_of_going_namespace;
use crate::in_words::in_words;
use crate::shortened::shortened;

/// An event with a longer one is refused.
const NOTE_BYTES_MAX: usize = 1024;

/// What is read of the answer; the spec, which the types may not be able to read, is skipped.
#[derive(Deserialize)]
struct Written {
    metadata: Metadata,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// What became of a status.
pub(super) enum Writing {
    /// The object's version that came of it.
    Done { version: String },
    /// Somebody else has written, or deleted the object, which makes an event.
    Outdated,
    /// It was written often: what it is then is to be written after so long.
    Later(Duration),
}

/// Of the object at this version only: another one may have its name by now. `burst` writes may come at once.
pub(super) async fn write_status(
    owner: &InferenceDeployment,
    context: &Context,
    (status, version, burst): (&InferenceDeploymentStatus, &str, u32),
) -> Result<Writing, ReconcileError> {
    if let Err(wait) = context.pace.may_write(&owner.uid().unwrap_or_default(), burst) {
        context.metrics.delayed.inc();
        return Ok(Writing::Later(wait));
    }
    let parameters = PatchParams::apply(MANAGER).force();
    let apply = Patch::Apply(json!({
        "apiVersion": InferenceDeployment::api_version(&()),
        "kind": InferenceDeployment::kind(&()),
        "metadata": { "resourceVersion": version },
        "status": status,
    }));
    let written = patch(owner, context, (&parameters, &apply)).await?;
    let Some(mut written) = written else { return Ok(Writing::Outdated) };
    if let Some(change) = correction(&written, &json!(status)) {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let corrected = patch(owner, context, (&parameters, &Patch::Merge(change))).await?;
        written = corrected.unwrap_or(written);
    }
    for condition in transitions(owner, status) {
        tell(owner, context, condition).await;
    }
    Ok(Writing::Done { version: written.metadata.resource_version })
}

async fn patch<P: Serialize + std::fmt::Debug>(
    owner: &InferenceDeployment,
    context: &Context,
    (parameters, patch): (&PatchParams, &Patch<P>),
) -> Result<Option<Written>, ReconcileError> {
    let url = InferenceDeployment::url_path(&(), owner.namespace().as_deref());
    let request = Request::new(url).patch_subresource("status", &owner.name_any(), parameters, patch);
    let request = request.map_err(|error| ReconcileError::Status(kube::Error::BuildRequest(error)))?;
    match context.client.request(request).await {
        Ok(written) => {
            context.metrics.writes.inc();
            context.pace.wrote(&owner.uid().unwrap_or_default());
            Ok(Some(written))
        }
        // Whoever wrote meanwhile has made an event of it.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(None),
        Err(error) => Err(ReconcileError::Status(error)),
    }
}

/// An apply leaves what somebody else has written, such as a condition that no longer holds: all as it should be, with
/// conditions of types that are not the operator's.
fn correction(written: &Written, status: &Value) -> Option<Value> {
    let mut left = written.status.clone();
    let conditions = left["conditions"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let (own, others): (Vec<Value>, Vec<Value>) =
        conditions.into_iter().partition(|one| one["type"].as_str().is_some_and(ConditionType::is_own));
    left["conditions"] = own.into();
    if left == *status {
        return None;
    }
    let mut status = status.clone();
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.extend(others);
    }
    if let (Some(fields), Some(left)) = (status.as_object_mut(), left.as_object()) {
        // What a merge leaves out stays.
        for name in left.keys() {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    let metadata = json!({ "resourceVersion": written.metadata.resource_version });
    Some(json!({ "metadata": metadata, "status": status }))
}

async fn tell(owner: &InferenceDeployment, context: &Context, condition: &Condition) {
    let good = [Reason::RollingOut, Reason::Prefetching].map(Reason::as_str);
    let is_good = condition.status == "True" || good.contains(&condition.reason.as_str());
    let event = Event {
        type_: if is_good { EventType::Normal } else { EventType::Warning },
        reason: condition.reason.clone(),
        note: Some(shortened(&condition.message, NOTE_BYTES_MAX).into_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    // A recorder counts what comes again, and for that remembers all that it told in minutes: 2 KiB an event. Trouble
    // comes again; what every object has at its start is told by one that is dropped.
    let is_news = is_good && !context.told.note(&owner.uid().unwrap_or_default(), &condition.reason);
    let anew = is_news.then(|| Recorder::new(context.client.clone(), context.reporter.clone()));
    let recorder = anew.as_ref().unwrap_or(&context.recorder);
    // The status has it too.
    if let Err(error) = recorder.publish(&event, &owner.object_ref(&())).await
        && !is_of_going_namespace(&error)
    {
        tracing::warn!("cannot publish an event: {}", in_words(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str) -> Value {
        json!({ "type": kind, "status": "True" })
    }

    #[test]
    fn only_what_others_wrote_of_the_operators_is_corrected() {
        let written = |conditions: &[&str]| Written {
            metadata: Metadata { resource_version: "7".to_owned() },
            status: json!({ "phase": "Ready", "models": ["x"], "conditions": conditions.iter().map(|kind| condition(kind)).collect::<Vec<_>>() }),
        };
        let status = json!({ "phase": "Ready", "models": ["x"], "conditions": [condition("Ready")] });
        assert_eq!(correction(&written(&["Ready"]), &status), None);
        assert_eq!(correction(&written(&["Ready", "Scanned"]), &status), None);
        let change = correction(&written(&["Scanned", "Ready", "Stalled"]), &status).unwrap();
        assert_eq!(change["metadata"], json!({ "resourceVersion": "7" }));
        assert_eq!(change["status"]["conditions"], json!([condition("Ready"), condition("Scanned")]));
        let without = json!({ "phase": "Ready", "conditions": [condition("Ready")] });
        let change = correction(&written(&["Ready"]), &without).unwrap();
        assert_eq!(
            change["status"],
            json!({ "phase": "Ready", "models": null, "conditions": [condition("Ready")] })
        );
    }
}
