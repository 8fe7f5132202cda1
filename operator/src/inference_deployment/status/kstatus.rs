//! The rules of kstatus for objects of unknown kinds, as its README tells them: what kubectl, Helm and Flux go by.

use serde_json::Value;

/// Deletion, then the generation, then the abnormal conditions, then Ready; an object without any of it is current.
pub(super) fn verdict(object: &Value) -> &'static str {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let observed = &status["observedGeneration"];
    let conditions = || status["conditions"].as_array().into_iter().flatten();
    let find = |kind: &str| conditions().find(|condition| condition["type"] == kind);
    let is_true = |kind: &str| find(kind).is_some_and(|condition| condition["status"] == "True");
    match () {
        () if !metadata["deletionTimestamp"].is_null() => "Terminating",
        () if !observed.is_null() && *observed != metadata["generation"] => "InProgress",
        () if is_true("Reconciling") => "InProgress",
        () if is_true("Stalled") => "Failed",
        () if find("Ready").is_some() && !is_true("Ready") => "InProgress",
        () => "Current",
    }
}
