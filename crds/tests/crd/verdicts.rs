//! What CEL and `validate()` say of a spec.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use ostro_crds::{InferenceDeploymentSpec, crd_json};
use serde_json::{Value, json};

/// Of an object. To compile the rules takes longer than to ask them.
pub(crate) static SCHEMA: LazyLock<CompiledSchema> =
    LazyLock::new(|| compile_schema(&crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]));

pub(crate) fn object(spec: &Value) -> Value {
    let metadata = json!({ "name": "m", "creationTimestamp": null });
    json!({ "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": metadata, "spec": spec })
}

/// Messages of the rules that a spec breaks, by CEL and by `validate()`.
pub(crate) fn verdicts(spec: &Value) -> (BTreeSet<String>, Vec<String>) {
    let cel = match validate_compiled(&SCHEMA, &object(spec), None) {
        Ok(()) => BTreeSet::new(),
        Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
    };
    let rust: InferenceDeploymentSpec = serde_json::from_value(spec.clone()).unwrap();
    let rust = match rust.validate() {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.0.iter().map(|problem| format!("{} {}", problem.key, problem.message)).collect()
        }
    };
    (cel, rust)
}

/// Both say the same: each of CEL's messages begins one of `validate()`, numbers of models aside.
pub(crate) fn check(spec: &Value, expected: &[&str]) {
    let (cel, rust) = verdicts(spec);
    let expected: BTreeSet<String> = expected.iter().map(|message| (*message).to_owned()).collect();
    assert_eq!(cel, expected, "CEL on {spec}");
    let rust: Vec<String> = rust.iter().map(|message| plain(message)).collect();
    for message in &expected {
        assert!(rust.iter().any(|rust| rust.starts_with(message.as_str())), "{message}: {rust:?} on {spec}");
    }
    assert!(rust.is_empty() == expected.is_empty(), "{rust:?} on {spec}");
}

/// `spec.models[0].a` as `models.a`.
pub(crate) fn plain(message: &str) -> String {
    let message = message.strip_prefix("spec.").unwrap_or(message);
    let mut plain = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once(']') {
            Some((index, after)) if index.bytes().all(|byte| byte.is_ascii_digit()) => rest = after,
            _ => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}
