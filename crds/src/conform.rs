//! What the API server refuses of an object by the CRD's schema alone, before any rule: fields that it does not know,
//! numbers where a text belongs, bounds. Reads the JSON that is sent, since the spec's types forgive some of it. Knows
//! the keywords that the CRD has; a test finds others.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ostro_config::{Place, Problem, Problems};
use regex::Regex;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::bounds::{IN_WORDS, LABEL, LABEL_VALUE};
use crate::crd::crd_json;
use crate::lists::{NOT_QUALIFIED, is_qualified};

const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
/// Whole numbers below are exact as floats.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

/// The object as the API server takes it from kubectl, which asks it to be strict: without nulls that mean nothing. Its
/// status is not looked at, as nobody but the operator writes it.
///
/// # Errors
/// What the API server would refuse, by field.
pub fn conform(mut object: Value) -> Result<Value, Problems> {
    let mut problems = Vec::new();
    static SCHEMA: LazyLock<Value> = LazyLock::new(object_schema);
    check(&SCHEMA, "", &mut object, &mut problems);
    for field in ["labels", "annotations"] {
        let keys = object["metadata"][field].as_object().into_iter().flatten().map(|(key, _)| key);
        let odd = keys.map(|key| key.to_ascii_lowercase()).find(|key| !is_qualified(key));
        problems.extend(odd.map(|_| problem(&format!("metadata.{field}"), None, NOT_QUALIFIED.to_owned())));
    }
    if problems.is_empty() { Ok(object) } else { Err(Problems(problems)) }
}

/// With the fields that all objects have.
fn object_schema() -> Value {
    let mut schema = crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let mut metadata = settings.into_generator().into_root_schema_for::<ObjectMeta>().to_value();
    metadata["properties"]["managedFields"] = json!({ "type": "array" });
    metadata["properties"]["namespace"]["pattern"] = LABEL.into();
    metadata["properties"]["labels"]["additionalProperties"]["pattern"] = LABEL_VALUE.into();
    metadata["properties"]["labels"]["additionalProperties"]["maxLength"] = json!(63);
    let fields = &mut schema["properties"];
    metadata["properties"]["name"] = fields["metadata"]["properties"]["name"].take();
    fields["metadata"] = metadata;
    fields["apiVersion"] = json!({ "type": "string" });
    fields["kind"] = json!({ "type": "string" });
    fields["status"] = json!({ "type": "object", OPEN: true });
    schema
}

fn check(schema: &Value, path: &str, value: &mut Value, problems: &mut Vec<Problem>) {
    if value.is_null() && is_set(schema, "nullable") {
        return;
    }
    if let Some(message) = wrong_type(schema, value).or_else(|| broken_bound(schema, value)) {
        // A text may be long, or a secret.
        let shown = (value.is_number() || value.is_boolean()).then(|| value.to_string());
        problems.push(problem(path, shown, message));
        return;
    }
    match (value, schema.get("items")) {
        (Value::Array(items), Some(schema)) => {
            for (index, item) in items.iter_mut().enumerate() {
                check(schema, &format!("{path}[{index}]"), item, problems);
            }
        }
        (Value::Object(fields), _) => check_fields(schema, path, fields, problems),
        _ => {}
    }
}

fn check_fields(schema: &Value, path: &str, fields: &mut Map<String, Value>, problems: &mut Vec<Problem>) {
    let known = |name: &str| schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
    // As the API server does before it looks at anything else.
    fields.retain(|name, value| {
        !value.is_null() || known(name).is_none_or(|schema| is_set(schema, "nullable"))
    });
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !fields.contains_key(*name)) {
        problems.push(problem(&join(path, name), None, "is missing".to_owned()));
    }
    for (name, value) in fields {
        match known(name) {
            Some(schema) => check(schema, &join(path, name), value, problems),
            None if is_set(schema, OPEN) => {}
            None => problems.push(problem(&join(path, name), None, unknown(schema))),
        }
    }
}

fn unknown(schema: &Value) -> String {
    let names = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    format!("is not a known field; known here are {}", names.collect::<Vec<_>>().join(", "))
}

fn wrong_type(schema: &Value, value: &Value) -> Option<String> {
    let (is_right, wanted) = if is_set(schema, INT_OR_STRING) {
        (value.is_string() || is_whole(value), "a text or a whole number")
    } else {
        match schema["type"].as_str()? {
            "string" => (value.is_string(), "a text"),
            "integer" => (is_whole(value), "a whole number"),
            "number" => (value.is_number(), "a number"),
            "boolean" => (value.is_boolean(), "true or false"),
            "array" => (value.is_array(), "a list"),
            _ => (value.is_object(), "an object"),
        }
    };
    let is_bare = wanted.starts_with("a text") && (value.is_number() || value.is_boolean());
    let hint = if is_bare { ": put it in quotes" } else { "" };
    (!is_right).then(|| format!("must be {wanted}{hint}"))
}

/// Of a value that has the right type.
fn broken_bound(schema: &Value, value: &Value) -> Option<String> {
    let choices = schema["enum"].as_array();
    if let Some(choices) = choices.filter(|choices| !choices.contains(value)) {
        let choices = choices.iter().filter(|choice| !choice.is_null()).map(Value::to_string);
        return Some(format!("must be one of {}", choices.collect::<Vec<_>>().join(", ")));
    }
    let is_above = |count: usize, limit: &str| schema[limit].as_u64().is_some_and(|most| count as u64 > most);
    match value {
        Value::String(text) => broken_text(schema, text),
        Value::Number(number) => broken_range(schema, number.as_f64()?),
        Value::Array(items) if is_above(items.len(), "maxItems") => {
            Some(format!("must have at most {} items", schema["maxItems"]))
        }
        Value::Object(fields) if is_above(fields.len(), "maxProperties") => {
            Some(format!("must have at most {} fields", schema["maxProperties"]))
        }
        _ => None,
    }
}

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a test compiles all of the CRD's")
}

fn broken_text(schema: &Value, text: &str) -> Option<String> {
    let characters = text.chars().count() as u64;
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| characters > *most) {
        return Some(format!("must have at most {most} characters, and has {characters}"));
    }
    if let Some(least) = schema["minLength"].as_u64().filter(|least| characters < *least) {
        return Some(format!("must have at least {least} characters"));
    }
    let pattern = schema["pattern"].as_str()?;
    static PATTERNS: LazyLock<BTreeMap<&str, Regex>> =
        LazyLock::new(|| IN_WORDS.map(|(pattern, _)| (pattern, compiled(pattern))).into());
    let is_match = match PATTERNS.get(pattern) {
        Some(compiled) => compiled.is_match(text),
        None => compiled(pattern).is_match(text),
    };
    (!is_match).then(|| in_words(pattern))
}

fn in_words(pattern: &str) -> String {
    let found = IN_WORDS.into_iter().find(|(known, _)| *known == pattern);
    found.map_or_else(|| format!("must match {pattern}"), |(_, words)| words.to_owned())
}

fn broken_range(schema: &Value, number: f64) -> Option<String> {
    let is_short = schema["format"] == "int32";
    let (mut least, mut most) =
        if is_short { (i32::MIN.into(), i32::MAX.into()) } else { (f64::MIN, f64::MAX) };
    least = schema["minimum"].as_f64().map_or(least, |minimum| minimum.max(least));
    most = schema["maximum"].as_f64().map_or(most, |maximum| maximum.min(most));
    match is_set(schema, "exclusiveMinimum") {
        true if number <= least => Some(format!("must be more than {least}")),
        _ if number < least => Some(format!("must be at least {least}")),
        _ if number > most => Some(format!("must be at most {most}")),
        _ => None,
    }
}

fn is_whole(value: &Value) -> bool {
    let is_exact = |number: f64| number.fract() == 0.0 && number.abs() < EXACT_MAX;
    value.is_i64() || value.as_f64().is_some_and(is_exact)
}

fn is_set(schema: &Value, keyword: &str) -> bool {
    schema[keyword] == true
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn problem(path: &str, value: Option<String>, message: String) -> Problem {
    Problem { place: Place::Default, key: path.to_owned(), value, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(metadata: Value, fields: Value, expected: &[&str]) {
        let mut spec = fields;
        spec["models"] = json!([{ "modelId": "a/b" }]);
        let object = json!({ "apiVersion": "a/b", "kind": "k", "metadata": metadata, "spec": spec });
        let problems = conform(object).err().map(|problems| problems.to_string()).unwrap_or_default();
        assert_eq!(problems.lines().collect::<Vec<_>>(), expected);
    }

    /// Which fields are refused is checked beside a real API server (`tests/rules.json`).
    #[test]
    fn what_is_refused_is_said_in_words() {
        let named = || json!({ "name": "m", "creationTimestamp": null });
        let volume = |size: Value| json!({ "cache": { "volume": { "size": size } } });
        check(named(), volume("20Gi".into()), &[]);
        let quotes = "spec.cache.volume.size = 1.5 must be a text or a whole number: put it in quotes";
        check(named(), volume(1.5.into()), &[quotes]);
        let long = "spec.cache.volume.size must have at most 64 characters, and has 65";
        check(named(), volume("1".repeat(65).into()), &[long]);
        check(
            named(),
            json!({ "resources": { "limit": {} } }),
            &["spec.resources.limit is not a known field; known here are requests, limits"],
        );
        check(
            named(),
            json!({ "replicas": -1, "networkPolicy": { "enabled": "yes" } }),
            &["spec.replicas = -1 must be at least 0", "spec.networkPolicy.enabled must be true or false"],
        );
        check(
            named(),
            json!({ "rollout": { "hold": "Some" } }),
            &[r#"spec.rollout.hold must be one of "OperatorUpgrades", "Never", "All""#],
        );
        check(
            json!({ "name": "m", "labels": { "a": 1 }, "managedFields": [{ "fieldsV1": { "f:spec": {} } }] }),
            json!({}),
            &["metadata.labels.a = 1 must be a text: put it in quotes"],
        );
        check(json!("m"), json!({}), &["metadata must be an object"]);
        let name =
            "metadata.name must have small letters, digits and inner hyphens only, and begin with a letter";
        check(json!({ "name": "a.b" }), json!({}), &[name]);
        let small = "metadata.namespace must have small letters, digits and inner hyphens only";
        check(json!({ "name": "m", "namespace": "A" }), json!({}), &[small]);
        let keys = "metadata.labels must have keys of letters, digits and inner -, _ and ., after a domain and / or without";
        check(json!({ "name": "m", "labels": { "a b": "c" } }), json!({}), &[keys]);
        let label = "metadata.labels.a must have letters, digits and inner -, _ and . only";
        check(json!({ "name": "m", "labels": { "a": "b c" } }), json!({}), &[label]);
        let long = "metadata.name must have at most 63 characters, and has 64";
        check(json!({ "name": "a".repeat(64) }), json!({}), &[long]);
    }
}
