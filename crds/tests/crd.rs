//! The CRD as the API server will see it: its size, its rules beside `validate()`, what a spec keeps.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::core::cel::Validator;
use ostro_config::keys::{Key, Kind, key, keys};
use ostro_config::{Command, to_camel};
use ostro_crds::{CRD_BYTES_MAX, InferenceDeploymentSpec, crd_json};
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

/// The API server refuses a CRD that breaks these.
#[test]
fn the_schema_is_structural() {
    fn walk(path: &str, schema: &Value) {
        let fields = schema.as_object().unwrap();
        for name in ["$ref", "definitions", "oneOf", "default", "const"] {
            assert!(!fields.contains_key(name) || path.contains("conditions"), "{path} has {name}");
        }
        assert!(
            fields.keys().all(|name| !name.starts_with("x-") || name.starts_with("x-kubernetes-")),
            "{path}: {fields:?}"
        );
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

/// Messages of the rules that a spec breaks, by CEL and by `validate()`.
fn verdicts(spec: &Value) -> (BTreeSet<String>, Vec<String>) {
    let schema = &crd_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let object = json!({ "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": { "name": "m" }, "spec": spec });
    let cel = match Validator::new().validate(schema, &object, None) {
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

#[test]
fn rules_of_the_daemon_hold_in_the_cluster() {
    let model = |fields: Value| {
        let mut model = json!({ "modelId": "a/b" });
        model.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        model
    };
    let b = json!({ "modelId": "c/d" });
    let plain = || model(json!({}));
    let lora = |aliases: &[&str]| {
        let lora: Value = aliases.iter().map(|alias| json!({ "alias": alias, "source": "x/y" })).collect();
        model(json!({ "adapter": { "lora": lora } }))
    };
    check(&json!({ "models": [plain(), b] }), &[]);
    check(&json!({ "models": [] }), &["models is missing: at least one models entry is needed"]);
    check(
        &json!({ "models": [plain(), plain()] }),
        &["models.modelId is the id of an earlier model; each model needs its own"],
    );
    check(&json!({ "models": [plain()], "defaultModelId": "a/b" }), &[]);
    check(
        &json!({ "models": [plain()], "defaultModelId": "x" }),
        &["defaultModelId must be the modelId of a models entry"],
    );
    let cpu = |cpu: bool| json!({ "modelId": format!("m{cpu}"), "device": { "cpu": cpu } });
    check(&json!({ "models": [cpu(true), plain()] }), &[]);
    check(
        &json!({ "models": [cpu(true), cpu(false)] }),
        &["models.device.cpu must be the same for all models"],
    );
    check(
        &json!({ "models": [plain()], "server": { "mcpPort": 1234 } }),
        &["server.mcpPort must differ from server.port"],
    );
    check(&json!({ "models": [plain()], "server": { "mcpPort": 1234, "port": 80 } }), &[]);
    check(&json!({ "models": [lora(&["a", "b"])] }), &[]);
    check(&json!({ "models": [lora(&["a", "a"])] }), &["models.adapter.lora has an alias twice"]);
    check(
        &json!({ "models": [lora(&[&"x".repeat(257)])] }),
        &["models.adapter.lora has an alias longer than 256 bytes"],
    );
    for field in ["legacyLora", "xlora"] {
        let message = format!("models.adapter.{field} is not for multimodal models; use models.adapter.lora");
        check(
            &json!({ "models": [model(json!({ "kind": "multimodal", "adapter": { field: "x/y" } }))] }),
            &[&message],
        );
        check(&json!({ "models": [model(json!({ "adapter": { field: "x/y" } }))] }), &[]);
    }
}

#[test]
fn rules_of_the_cluster_hold_offline_too() {
    let with = |fields: Value| {
        let mut spec = json!({ "models": [{ "modelId": "a/b" }] });
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    };
    let volume = |name: &str| json!({ "name": name, "emptyDir": {}, "mountPath": "/x" });
    let token = json!({ "secretKeyRef": { "name": "s", "key": "k" } });
    let good = [
        json!({ "cache": { "volume": { "size": "1Gi" } } }),
        json!({ "disruptionBudget": { "minAvailable": 1 } }),
        json!({ "rollout": { "maxSurge": 1 } }),
        json!({ "rollout": { "strategy": "Recreate" } }),
        json!({ "server": { "port": 8000, "host": "0.0.0.0" } }),
        json!({ "huggingFaceToken": token }),
        json!({ "global": { "tokenSource": "none" } }),
        json!({ "volumes": [volume("a"), volume("b")] }),
    ];
    for fields in good {
        check(&with(fields), &[]);
    }
    let bad = [
        (
            json!({ "cache": { "volume": { "size": "1Gi" }, "hostPath": { "path": "/x" } } }),
            "cache must have at most one of volume, existingClaim, hostPath, image and sizeLimit",
        ),
        (
            json!({ "disruptionBudget": { "minAvailable": 1, "maxUnavailable": "50%" } }),
            "disruptionBudget must not have both minAvailable and maxUnavailable",
        ),
        (
            json!({ "rollout": { "strategy": "Recreate", "maxSurge": 1 } }),
            "rollout.strategy Recreate has neither maxSurge nor maxUnavailable",
        ),
        (json!({ "server": { "port": 0 } }), "server.port must not be 0: the Service needs a fixed port"),
        (
            json!({ "server": { "host": "127.0.0.1" } }),
            "server.host must be reachable from outside of the pod",
        ),
        (
            json!({ "global": { "tokenSource": "literal:abc" } }),
            "global.tokenSource must not hold a token: name a Secret in huggingFaceToken",
        ),
        (
            json!({ "huggingFaceToken": token, "global": { "tokenSource": "none" } }),
            "huggingFaceToken conflicts with global.tokenSource",
        ),
        (json!({ "volumes": [volume("a"), volume("a")] }), "volumes must not have a name twice"),
        (
            json!({ "volumes": [volume("tmp")] }),
            "volumes must not take the operator's names: config, cache, tmp, shm",
        ),
    ];
    for (fields, message) in bad {
        check(&with(fields), &[message]);
    }
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
