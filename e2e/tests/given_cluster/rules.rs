//! What the API server refuses, and takes, of objects: the cases that `validate` is held to.

use serde_json::{Value, json};

use crate::support::Cluster;
use crate::{NAMESPACE, manifest};

pub(crate) fn check(cluster: &Cluster) {
    check_cases(cluster);
    check_names(cluster);
    check_volume_changes(cluster);
}

fn check_cases(cluster: &Cluster) {
    let tables =
        [include_str!("../../../crds/tests/rules.json"), include_str!("../../../crds/tests/partners.json")];
    for case in tables.map(|table| serde_json::from_str::<Vec<Value>>(table).unwrap()).concat() {
        let spec = &case["spec"];
        let output =
            cluster.kubectl_input(&["apply", "--dry-run=server", "-f", "-"], &manifest("rules", spec));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // Messages of rules, and fields that the schema refuses.
        let told =
            ["broken", "refused"].map(|kind| case[kind].as_array().cloned().unwrap_or_default()).concat();
        assert_eq!(output.status.success(), told.is_empty(), "{spec}: {errors}");
        for told in told {
            assert!(errors.contains(told.as_str().unwrap()), "{told}: {errors}");
        }
    }
}

/// That no Service could bear, or no label.
fn check_names(cluster: &Cluster) {
    for name in ["a.b", "9a", &"a".repeat(64)] {
        let object = manifest(name, &json!({ "models": [{ "modelId": "a/b" }] }));
        let output = cluster.kubectl_input(&["apply", "--dry-run=server", "-f", "-"], &object);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("metadata.name"), "{name}: {errors}");
    }
}

/// Of `spec.cache.volume`: rules that compare an object with what it was.
fn check_volume_changes(cluster: &Cluster) {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../crds/tests/volume_changes.json")).unwrap();
    let with = |volume: &Value| {
        manifest("rules", &json!({ "models": [{ "modelId": "a/b" }], "cache": { "volume": volume } }))
    };
    for case in cases {
        cluster.apply(&with(&case["before"]));
        let output = cluster.kubectl_input(&["apply", "--dry-run=server", "-f", "-"], &with(&case["after"]));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let broken = case["broken"].as_array().unwrap();
        assert_eq!(output.status.success(), broken.is_empty(), "{case}: {errors}");
        assert!(broken.iter().all(|message| errors.contains(message.as_str().unwrap())), "{case}: {errors}");
        cluster.kubectl(&["delete", "infd/rules", "--namespace", NAMESPACE]);
    }
}
