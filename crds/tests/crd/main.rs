//! The CRD as the API server will see it: its size, its rules beside `validate()`, what a spec keeps.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::core::cel::Validator;
use ostro_config::keys::{Key, Kind, key, keys};
use ostro_config::manifest::{CLUSTER_FIELDS, DAEMON_FIELDS};
use ostro_config::{Command, to_camel};
use ostro_crds::{CRD_BYTES_MAX, InferenceDeploymentSpec, conform, crd_json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

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
            assert!(!fields.contains_key(name) || path.contains("conditions"), "{path} has {name}");
        }
        assert!(fields.keys().all(|name| KEYWORDS.split(' ').any(|word| word == name)), "{path}: {fields:?}");
        if let Some(pattern) = fields.get("pattern") {
            regex::Regex::new(pattern.as_str().unwrap()).unwrap();
        }
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

fn object(spec: &Value) -> Value {
    let metadata = json!({ "name": "m", "creationTimestamp": null });
    json!({ "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": metadata, "spec": spec })
}

/// Messages of the rules that a spec breaks, by CEL and by `validate()`.
fn verdicts(spec: &Value) -> (BTreeSet<String>, Vec<String>) {
    let schema = &crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let cel = match Validator::new().validate(schema, &object(spec), None) {
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
fn check(spec: &Value, expected: &[&str]) {
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
fn plain(message: &str) -> String {
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

/// The same table is run against a real API server (`e2e/tests/operator/rules.rs`).
#[test]
fn rules_hold_in_the_cluster_and_offline() {
    #[derive(Deserialize)]
    struct Case {
        spec: Value,
        /// Messages of rules.
        #[serde(default)]
        broken: Vec<String>,
        /// Fields that the schema refuses, so that no rule is asked.
        #[serde(default)]
        refused: Vec<String>,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("rules.json")).unwrap();
    assert!(cases.iter().any(|case| case.broken.is_empty()));
    for Case { spec, broken, refused } in &cases {
        match conform(object(spec)) {
            Ok(object) => {
                assert!(refused.is_empty(), "{spec} was taken");
                check(&object["spec"], &broken.iter().map(String::as_str).collect::<Vec<_>>());
            }
            Err(problems) => {
                let fields: Vec<&str> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
                assert_eq!(fields, *refused, "{spec}: {problems}");
            }
        }
    }
}

/// Of `spec.cache.volume`, which is absent in the last of them. Also run against a real API server.
#[test]
fn claims_of_replicas_stay_as_they_are() {
    #[derive(Deserialize)]
    struct Case {
        before: Value,
        after: Value,
        broken: Vec<String>,
    }
    let schema = &crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let object = |volume: &Value| {
        let cache = if volume.is_null() { json!({}) } else { json!({ "volume": volume }) };
        json!({ "spec": { "models": [{ "modelId": "a/b" }], "cache": cache } })
    };
    let mut cases: Vec<Case> = serde_json::from_str(include_str!("volume_changes.json")).unwrap();
    let volume = cases[2].before.clone();
    cases.push(Case { before: volume.clone(), after: Value::Null, broken: Vec::new() });
    cases.push(Case { before: Value::Null, after: volume.clone(), broken: Vec::new() });
    // As from before there was a rule for sizes.
    let with_size = |size: &str| json!({ "size": size, "perReplica": true });
    cases.extend(["none", "0"].map(|size| Case {
        before: with_size(size),
        after: volume.clone(),
        broken: Vec::new(),
    }));
    for Case { before, after, broken } in &cases {
        let checked = Validator::new().validate(schema, &object(after), Some(&object(before)));
        let errors = checked.err().into_iter().flatten();
        let messages: Vec<String> = errors.map(|error| error.message.clone()).collect();
        assert_eq!(messages, *broken, "{before} {after}");
    }
    let problems = InferenceDeploymentSpec::fixed_claims();
    let told = problems.0.iter().map(|problem| plain(&format!("{} {}", problem.key, problem.message)));
    assert_eq!(told.collect::<Vec<_>>(), cases[5].broken);
}

/// A value that a key takes.
fn sample(key: &Key) -> Value {
    fn of(kind: &Kind) -> Value {
        match kind {
            Kind::Switch | Kind::OptionalBool => true.into(),
            Kind::Whole { min, max } => (*min).max(3).min(*max).into(),
            Kind::WholeChoice(values) => values[0].into(),
            Kind::Fraction => 0.5.into(),
            Kind::Text(_) | Kind::Path => "x/y".into(),
            Kind::Choice(values) => values[0].clone().into(),
            Kind::List(kind) => json!([of(kind)]),
            Kind::Tables(_) => json!([{ "alias": "a", "source": "x/y" }]),
        }
    }
    of(&key.kind)
}

/// A spec with these keys set.
fn spec_with(set: &[&Key]) -> Value {
    let mut spec = json!({ "models": [{ "modelId": "a/b" }] });
    for key in set {
        let path = to_camel(&key.path);
        let (mut at, path) = match path.strip_prefix("models.") {
            Some(rest) => (&mut spec["models"][0], rest.to_owned()),
            None => (&mut spec, path),
        };
        for name in path.split('.') {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[name];
        }
        *at = sample(key);
    }
    spec
}

#[test]
fn partners_of_keys_are_demanded_and_refused_by_both() {
    let mut rules = 0;
    for of in keys().iter().filter(|key| key.command != Some(Command::Run)) {
        if !of.requires.is_empty() {
            assert_alike(&spec_with(&[of]), true);
            for partner in &of.requires {
                assert_alike(&spec_with(&[of, key(partner).unwrap()]), false);
                rules += 1;
            }
        }
        for partner in &of.conflicts {
            let mut set = vec![key(partner).unwrap(), of];
            // What the two require is there, so that only their conflict is left.
            let required: Vec<&Key> =
                set.iter().filter_map(|key| key.requires.first()).filter_map(|path| key(path)).collect();
            set.extend(required);
            assert_alike(&spec_with(&set), true);
            rules += 1;
        }
    }
    assert!(rules > 30, "{rules}");
}

fn assert_alike(spec: &Value, is_broken: bool) {
    let (cel, rust) = verdicts(spec);
    assert_eq!((cel.is_empty(), rust.is_empty()), (!is_broken, !is_broken), "{spec}: {cel:?} {rust:?}");
    let rust: Vec<String> = rust.iter().map(|message| plain(message)).collect();
    for message in cel {
        assert!(rust.contains(&message), "{message}: {rust:?}");
    }
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
