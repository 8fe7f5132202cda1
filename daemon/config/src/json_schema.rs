//! Reading the JSON schema of the configuration's types.

use serde_json::Value;

/// `anyOf [T, null]` and `type [T, null]` are optional.
pub fn without_null(schema: &Value) -> (&Value, bool) {
    let is_null = |schema: &&Value| schema.get("type").and_then(Value::as_str) == Some("null");
    if let Some(variants) = schema.get("anyOf").and_then(Value::as_array) {
        let inner = variants.iter().find(|variant| !is_null(variant)).unwrap_or(schema);
        return (inner, true);
    }
    let optional = schema.get("type").and_then(Value::as_array).is_some();
    (schema, optional)
}

pub fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(Value::String(name)) => Some(name.as_str()),
        _ => None,
    }
    .unwrap_or_default()
}

/// The values of a unit enum, with or without documented variants.
pub fn choices(schema: &Value) -> Vec<Value> {
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let documented = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let documented = documented.filter_map(|variant| variant.get("const"));
    plain.chain(documented).filter(|value| !value.is_null()).cloned().collect()
}
