//! What the operator's program does without a cluster.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

const HEAD: &str =
    "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: m}\nspec:\n";

/// Exit, output and errors with a manifest on standard input.
fn run(words: &[&str], input: &str) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ostro-operator"));
    command.args(words).env_remove("RUST_BACKTRACE");
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_manifest_is_valid_beside_other_objects() {
    let input = format!("kind: Namespace\n---\n{HEAD}  models: [{{modelId: a/b}}]\n");
    assert_eq!(run(&["validate", "-f", "-"], &input), (true, "m is valid\n".to_owned(), String::new()));
    let (_, objects, _) = run(&["render", "-f", "-", "--namespace", "shop"], &input);
    let kinds: Vec<&str> = objects.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds, ["ServiceAccount", "ControllerRevision", "ConfigMap", "Service", "Deployment"]);
    assert!(objects.contains("namespace: shop"));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (
            "  models: [{modelId: a/b}]\n  runtime: {maxSeqs: 0}\n",
            "standard input:6: spec.runtime.maxSeqs = 0 must be",
        ),
        ("  models: [{modelId: a/b}]\n  server: {port: 0}\n", "spec.server.port must not be 0"),
        ("  models: [{modelId: a/b}]\n  replicas: many\n", "replicas"),
        (
            "  models: [{modelId: a/b}]\n  podTemplatePatch: {spec: {containers: [{image: x}]}}\n",
            "spec.podTemplatePatch.spec.containers[0].name is missing",
        ),
        (
            "  models: [{modelId: a/b}]\n  podTemplatePatch: {spec: {hostNetwrk: true}}\n",
            "spec.podTemplatePatch.spec.hostNetwrk is not a field of a pod template",
        ),
    ];
    for (spec, expected) in cases {
        for command in ["validate", "render"] {
            let (is_valid, _, errors) = run(&[command, "-f", "-"], &format!("{HEAD}{spec}"));
            assert!(!is_valid && errors.contains(expected), "{errors}");
        }
    }
}
