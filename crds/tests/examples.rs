//! The manifests of docs/examples: each is a whole `InferenceDeployment` that the API server and the operator take.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use kube::core::cel::Validator;
use ostro_config::{Document, Loaded};
use ostro_crds::{InferenceDeployment, conform, crd_json};
use serde_json::Value;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");

fn check(path: &Path) {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).unwrap();
    // As the daemon's `from-config` reads it, which also tells of unknown fields.
    if let Err(problems) = Document::parse_manifest(&name, &text).and_then(Loaded::from_document) {
        panic!("{problems}");
    }
    let value: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let schema = &crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    if let Err(errors) = Validator::new().validate(schema, &value, None) {
        panic!("{name}: {errors:?}");
    }
    let value = conform(value).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    let object: InferenceDeployment =
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{name}: {error}"));
    if let Err(problems) = object.spec.validate() {
        panic!("{name}: {problems}");
    }
    assert!(object.metadata.name.is_some_and(|name| !name.is_empty()), "{name} has no name");
}

#[test]
fn examples_are_valid() {
    let entries = fs::read_dir(EXAMPLES).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.iter().for_each(|path| check(path));
    assert!(paths.iter().any(|path| path.ends_with("gpu.yaml")), "{paths:?}");
}
