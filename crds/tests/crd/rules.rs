//! The tables of rules, which a real API server is held to as well (`e2e/tests/given_cluster/rules.rs`).

use std::collections::BTreeSet;

use kube::core::cel::validate_compiled;
use ostro_crds::{InferenceDeploymentSpec, conform, crd_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::verdicts::{SCHEMA, check, object, plain};

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
    let cases: Vec<Case> = serde_json::from_str(include_str!("../rules.json")).unwrap();
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

/// Of `spec.cache.volume`, which is absent in the last of them.
#[test]
fn claims_of_replicas_stay_as_they_are() {
    #[derive(Deserialize)]
    struct Case {
        before: Value,
        after: Value,
        broken: Vec<String>,
    }
    let object = |volume: &Value| {
        let cache = if volume.is_null() { json!({}) } else { json!({ "volume": volume }) };
        json!({ "spec": { "models": [{ "modelId": "a/b" }], "cache": cache } })
    };
    let mut cases: Vec<Case> = serde_json::from_str(include_str!("../volume_changes.json")).unwrap();
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
        let checked = validate_compiled(&SCHEMA, &object(after), Some(&object(before)));
        let errors = checked.err().into_iter().flatten();
        let messages: Vec<String> = errors.map(|error| error.message.clone()).collect();
        assert_eq!(messages, *broken, "{before} {after}");
    }
    let problems = InferenceDeploymentSpec::fixed_claims();
    let told = problems.0.iter().map(|problem| plain(&format!("{} {}", problem.key, problem.message)));
    assert_eq!(told.collect::<Vec<_>>(), cases[5].broken);
}

/// Of every rule that the schema has, somewhere in the tables.
#[test]
fn every_rule_is_broken_by_a_case() {
    fn messages(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(fields) => {
                let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
                let told = rules.into_iter().flatten().filter_map(|rule| rule["message"].as_str());
                found.extend(told.map(str::to_owned));
                fields.values().for_each(|field| messages(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| messages(item, found)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    messages(&crd_json(), &mut all);
    let tables = [
        include_str!("../rules.json"),
        include_str!("../partners.json"),
        include_str!("../volume_changes.json"),
    ];
    let cases = tables.map(|table| serde_json::from_str::<Vec<Value>>(table).unwrap()).concat();
    let broken = cases.iter().filter_map(|case| case["broken"].as_array()).flatten();
    let broken: BTreeSet<String> = broken.map(|told| told.as_str().unwrap().to_owned()).collect();
    assert!(all.len() > 60, "{}", all.len());
    assert_eq!(all.difference(&broken).collect::<Vec<_>>(), Vec::<&String>::new());
}
