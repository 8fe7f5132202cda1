//! The CRD as the API server will see it: its size, its rules beside `validate()`, what a spec keeps.
#![allow(clippy::unwrap_used)]

mod partners;
mod rules;
mod verdicts;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ostro_config::manifest::{CLUSTER_FIELDS, DAEMON_FIELDS};
use ostro_config::to_camel;
use ostro_crds::{CRD_BYTES_MAX, crd_json};
use serde_json::Value;

/// The chart's copy; `OSTRO_UPDATE_DOCS=1 cargo test -p ostro-crds` writes it.
const CHART: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ostro-crds/templates/inferencedeployments.yaml");

#[test]
fn the_committed_crd_is_that_of_the_types() {
    let text = serde_saphyr::to_string(&crd_json()).unwrap();
    let text = format!("# Written by `OSTRO_UPDATE_DOCS=1 cargo test -p ostro-crds`; do not edit.\n{text}");
    if std::env::var_os("OSTRO_UPDATE_DOCS").is_some() {
        fs::create_dir_all(Path::new(CHART).parent().unwrap()).unwrap();
        fs::write(CHART, &text).unwrap();
    }
    assert!(fs::read_to_string(CHART).unwrap() == text, "{CHART} is not current");
    let bytes = serde_json::to_vec(&crd_json()).unwrap().len();
    assert!(bytes < CRD_BYTES_MAX, "{bytes} bytes");
}

/// Of schemas; `conform` heeds all of them but those that say nothing of a single object's spec.
const KEYWORDS: &str = "additionalProperties default description enum exclusiveMinimum format items maxItems maxLength \
    maxProperties maximum minLength minimum nullable pattern properties required title type \
    x-kubernetes-int-or-string x-kubernetes-list-map-keys x-kubernetes-list-type \
    x-kubernetes-preserve-unknown-fields x-kubernetes-validations";

/// The API server refuses a CRD that breaks these.
#[test]
fn the_schema_is_structural() {
    fn walk(path: &str, schema: &Value) {
        let fields = schema.as_object().unwrap();
        for name in ["$ref", "definitions", "oneOf", "default", "const"] {
            // Without a number of replicas there would be no /scale.
            let is_meant = path.contains("conditions") || path == ".spec.replicas";
            assert!(!fields.contains_key(name) || is_meant, "{path} has {name}");
        }
        assert!(fields.keys().all(|name| KEYWORDS.split(' ').any(|word| word == name)), "{path}: {fields:?}");
        if let Some(pattern) = fields.get("pattern") {
            regex::Regex::new(pattern.as_str().unwrap()).unwrap();
        }
        let is_list = fields.get("type").is_some_and(|kind| kind == "array");
        assert!(!is_list || fields.contains_key("maxItems"), "{path} has no end");
        let is_map = fields.get("additionalProperties").is_some_and(Value::is_object);
        assert!(!is_map || fields.contains_key("maxProperties"), "{path} has no end");
        let is_open = fields.contains_key("x-kubernetes-int-or-string");
        assert!(
            is_open || fields.get("type").is_some_and(Value::is_string),
            "{path} has no type: {fields:?}"
        );
        for (name, schema) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), schema);
        }
        for name in ["items", "additionalProperties"] {
            if let Some(schema) = fields.get(name).filter(|schema| schema.is_object()) {
                walk(&format!("{path}[]"), schema);
            }
        }
    }
    walk("", &crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
}

#[test]
fn the_daemon_knows_the_fields_of_the_cluster() {
    let spec = &crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let fields: BTreeSet<String> = spec["properties"].as_object().unwrap().keys().cloned().collect();
    let daemon = DAEMON_FIELDS.iter().map(|field| to_camel(field));
    let known: BTreeSet<String> =
        daemon.chain(CLUSTER_FIELDS.iter().map(|field| (*field).to_owned())).collect();
    assert_eq!(fields, known);
}
