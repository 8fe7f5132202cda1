//! How a ControllerRevision is sent. Its data never changes, which the API server sees to by comparing bytes: of an apply,
//! or of the patch by which Kubernetes orphans it, those that it encodes itself.

use kube::api::DynamicObject;

/// JSON as the API server encodes it, as Go does: keys in order, and without what ends a script in HTML.
pub(super) fn canonical(object: &DynamicObject) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(object)?;
    value.sort_all_objects();
    let text = serde_json::to_string(&value)?;
    // All of these are in texts only.
    let escapes = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    Ok(escapes.into_iter().fold(text, |text, (char, escaped)| text.replace(char, escaped)))
}

/// What of one that is there may change.
pub(super) fn without_data(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    if let Some(fields) = object.data.as_object_mut() {
        fields.remove("data");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_those_of_the_api_server() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": { "name": "m" },
            "data": { "template": { "b": [{ "z": 1, "a": "<\u{2028}>\n&" }], "a": null }, "config": "é" },
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let expected = r#"{"apiVersion":"apps/v1","data":{"config":"é","template":{"a":null,"b":[{"a":"\u003c\u2028\u003e\n\u0026","z":1}]}},"kind":"ControllerRevision","metadata":{"name":"m"}}"#;
        assert_eq!(canonical(&object).unwrap(), expected);
        assert_eq!(without_data(&object).data, json!({}));
    }
}
