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
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16(), "message": reason });
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
