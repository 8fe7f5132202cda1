//! Objects with all that people write into pods, amounts and volumes: what the API server makes of it is what was asked
//! for, and nobody is said to change it.

use serde_json::{Value, json};

use crate::applies;
use crate::support::{Cluster, await_until, operator};

const NAMESPACE: &str = "specs";

/// Each with the reason that is told of it, and a part of the message; they have no pods.
pub(crate) fn check(cluster: &Cluster) {
    let cases: Vec<Value> = serde_json::from_str(include_str!("specs.json")).unwrap();
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let objects: Vec<Value> = cases.iter().map(object).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    // Without the word kubectl drops what is null.
    let output = cluster.kubectl_input(&["apply", "--server-side", "-f", "-"], &list.to_string());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = Value::Null;
    await_until("all to be told of", || {
        found = ready(cluster);
        let is_told = |told: &Value| !told.is_null() && told["reason"] != "RollingOut";
        cases.iter().all(|case| is_told(&found[case["name"].as_str().unwrap()]))
    });
    for case in &cases {
        let told = &found[case["name"].as_str().unwrap()];
        let expected = case.get("reason").cloned().unwrap_or(json!("ScaledToZero"));
        let says = case.get("says").map_or("", |says| says.as_str().unwrap());
        assert_eq!(told["reason"], expected, "{case}: {told}");
        assert!(told["message"].as_str().unwrap().contains(says), "{case}: {told}");
    }
    check_at_rest(cluster, &cases);
    cluster.kubectl(&["delete", "namespace", NAMESPACE]);
}

fn object(case: &Value) -> Value {
    let mut spec = json!({ "replicas": 0, "models": [{ "modelId": "a/b" }] });
    spec.as_object_mut().unwrap().extend(case["spec"].as_object().unwrap().clone());
    operator::object(NAMESPACE, case["name"].as_str().unwrap(), &spec)
}

/// The condition by the object's name.
fn ready(cluster: &Cluster) -> Value {
    let words = ["get", "infd", "--namespace", NAMESPACE, "--output", "json"];
    let objects: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    let ready = objects["items"].as_array().unwrap().iter().map(|object| {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let generation = &object["metadata"]["generation"];
        let is_told = |one: &Value| one["type"] == "Ready" && one["observedGeneration"] == *generation;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        (name, conditions.into_iter().find(is_told).unwrap_or_default())
    });
    Value::Object(ready.collect())
}

/// Nothing is applied again because somebody looks again.
fn check_at_rest(cluster: &Cluster, cases: &[Value]) {
    let in_namespace = ["--namespace", NAMESPACE];
    let is_refused = |case: &&Value| case.get("reason").is_some();
    let refused = cases.iter().filter(is_refused).map(|case| case["name"].as_str().unwrap());
    cluster.kubectl(&[&["delete", "infd"], &refused.collect::<Vec<_>>()[..], &in_namespace].concat());
    let before = applies(cluster);
    for look in 0..3 {
        let mark = format!("look={look}");
        cluster.kubectl(&[&["annotate", "infd", "--all", "--overwrite", &mark], &in_namespace[..]].concat());
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(applies(cluster), before);
}
