//! What the API server in memory answers, and how it reads selectors.

use axum::body::Body as Answer;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

/// Such a write makes no new version.
pub(super) fn is_same_but_for_versions(before: &Value, written: &Value) -> bool {
    let mut before = before.clone();
    let mut written = written.clone();
    for object in [&mut before, &mut written] {
        object.as_object_mut().unwrap().remove("status");
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.retain(|name, _| !["uid", "resourceVersion", "generation"].contains(&name.as_str()));
    }
    before == written
}

pub(super) fn found_answer(value: &Value) -> Response<Answer> {
    Response::new(Answer::from(value.to_string()))
}

pub(super) fn missing() -> Response<Answer> {
    failure(StatusCode::NOT_FOUND, "NotFound")
}

pub(super) fn failure(code: StatusCode, reason: &str) -> Response<Answer> {
    failure_with(code, reason, json!({ "message": reason }))
}

fn failure_with(code: StatusCode, reason: &str, fields: Value) -> Response<Answer> {
    let mut status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16() });
    status.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut answer = found_answer(&status);
    *answer.status_mut() = code;
    answer
}

/// `key=value` or `!key`, one or more.
pub(super) fn selector(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="))?;
    Some(value.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",").replace("%21", "!"))
}

pub(super) fn is_selected(object: &Value, selector: Option<&str>) -> bool {
    let mut pairs = selector.into_iter().flat_map(|selector| selector.split(','));
    let labels = &object["metadata"]["labels"];
    pairs.all(|pair| match pair.strip_prefix('!') {
        Some(key) => labels[key].is_null(),
        None => pair.split_once('=').is_some_and(|(key, value)| labels[key] == value),
    })
}

pub(super) fn is_of_another_version(object: &Value, written: &Value) -> bool {
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    !version(written).is_null() && version(object) != version(written)
}

/// As an API server gives them.
pub(super) fn uid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

pub(super) fn is_of_another_uid(object: Option<&Value>, written: &Value) -> bool {
    let uid = &written["metadata"]["uid"];
    !uid.is_null() && object.is_none_or(|object| object["metadata"]["uid"] != *uid)
}

/// As Kubernetes 1.36 answers a patch with the uid of another object than is there, or of one that is not.
pub(super) fn of_another_uid(is_there: bool) -> Response<Answer> {
    if !is_there {
        let message = "uid mismatch: the provided object specified uid x, and no existing object was found";
        return failure_with(StatusCode::CONFLICT, "Conflict", json!({ "message": message }));
    }
    let cause =
        json!({ "reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid" });
    let fields = json!({ "message": "metadata.uid: field is immutable", "details": { "causes": [cause] } });
    failure_with(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", fields)
}

/// As Kubernetes 1.36 answers with OwnerReferencesPermissionEnforcement who may not delete what others are to own.
pub(super) fn guarded() -> Response<Answer> {
    let message = "cannot set an ownerRef on a resource you can't delete: , <nil>";
    failure_with(StatusCode::FORBIDDEN, "Forbidden", json!({ "message": message }))
}

/// Revisions and events are merged.
pub(super) fn is_unforced_apply(resource: &str, query: &str) -> bool {
    !["controllerrevisions", "events"].contains(&resource) && !query.contains("force=true")
}
