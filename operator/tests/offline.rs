//! What the operator's program, and kubectl's plugin, do without a cluster.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};

const HEAD: &str =
    "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: m}\nspec:\n";

/// Exit, output and errors with a manifest on standard input.
fn run(words: &[&str], input: &str) -> (bool, String, String) {
    let (code, output, errors) = run_program(env!("CARGO_BIN_EXE_ostro-operator"), words, input);
    (code == 0, output, errors)
}

fn plugin(words: &[&str], input: &str) -> (i32, String, String) {
    run_program(env!("CARGO_BIN_EXE_kubectl-ostro"), words, input)
}

fn run_program(program: &str, words: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.args(words).env_remove("RUST_BACKTRACE");
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
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
fn all_objects_of_a_file_are_looked_at() {
    let other = HEAD.replace("name: m", "name: other");
    let two =
        |second: &str| format!("{HEAD}  models: [{{modelId: a/b}}]\n---\n{other}  models: [{second}]\n");
    let (is_valid, said, _) = run(&["validate", "-f", "-"], &two("{modelId: a/b}"));
    assert_eq!((is_valid, said.as_str()), (true, "m is valid\nother is valid\n"));
    let (_, objects, _) = run(&["render", "-f", "-"], &two("{modelId: a/b}"));
    assert_eq!(objects.matches("\nkind: Deployment\n").count(), 2);
    let (is_valid, said, error) = run(&["validate", "-f", "-"], &two("{modelId: a/b, nope: 1}"));
    assert!(
        !is_valid && said.is_empty() && error.contains("standard input:11: spec.models[0].nope"),
        "{error}"
    );
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
            "  models: [{modelId: a/b}]\n  monitoring: {interval: 1d}\n",
            "spec.monitoring.interval must be a duration",
        ),
        (
            "  models: [{modelId: a/b}]\n  monitoring: {interval: 5s, scrapeTimeout: 10s}\n",
            "spec.monitoring.scrapeTimeout must not be longer than monitoring.interval",
        ),
        (
            "  models: [{modelId: a/b}]\n  podTemplatePatch: {spec: {containers: [{image: x}]}}\n",
            "spec.podTemplatePatch.spec.containers[0].name is missing",
        ),
        (
            "  models: [{modelId: a/b}]\n  podTemplatePatch: {spec: {hostNetwrk: true}}\n",
            "spec.podTemplatePatch.spec.hostNetwrk is not a field of a pod template",
        ),
    ];
    let long = "0".repeat(64) + "1Gi";
    let long = format!("  models: [{{modelId: a/b}}]\n  cache: {{volume: {{size: {long}}}}}\n");
    let refused = [
        (long.as_str(), "standard input: spec.cache.volume.size must have at most 64 characters, and has 67"),
        (
            "  models: [{modelId: a/b}]\n  cache: {volume: {size: 1.5}}\n",
            "standard input: spec.cache.volume.size = 1.5 must be a text or a whole number: put it in quotes",
        ),
        (
            "  models: [{modelId: a/b}]\n  env: [{name: A, value: yes}]\n",
            "standard input: spec.env[0].value = true must be a text: put it in quotes",
        ),
    ];
    for (spec, expected) in cases.into_iter().chain(refused) {
        for command in ["validate", "render"] {
            let (is_valid, _, errors) = run(&[command, "-f", "-"], &format!("{HEAD}{spec}"));
            assert!(!is_valid && errors.contains(expected), "{errors}");
        }
    }
}

#[test]
fn all_that_the_daemon_and_the_schema_find_is_told_once() {
    let spec = "  models: [{modelId: a/b}]\n  replicas: -1\n  nope: 1\n  env: [{name: A, value: yes}]\n";
    let (_, _, errors) = run(&["validate", "-f", "-"], &format!("{HEAD}{spec}"));
    for named in ["input:7: spec.nope is not", "input: spec.replicas = -1", "input: spec.env[0].value = true"]
    {
        assert_eq!(errors.matches(named).count(), 1, "{named}: {errors}");
    }
    assert_eq!(errors.matches("spec.nope").count(), 1, "{errors}");
}

/// Of what is told of it there is more than one way: warnings, and what is wrong.
#[test]
fn no_text_of_a_manifest_steers_the_terminal() {
    for runtime in ["agent: true, ", ""] {
        let runtime = format!("{{{runtime}shellPath: \"/bin/\u{202e}hs\"}}");
        let input = format!("{HEAD}  models: [{{modelId: a/b}}]\n  runtime: {runtime}\n");
        let by_operator = run(&["validate", "-f", "-"], &input).2;
        let by_plugin = plugin(&["validate", "-f", "-"], &input).2;
        for errors in [by_operator, by_plugin] {
            assert!(errors.contains("/bin/\\u{202e}hs") && !errors.contains('\u{202e}'), "{errors:?}");
        }
    }
}

#[test]
fn the_plugin_says_the_same() {
    let input = format!("{HEAD}  models: [{{modelId: a/b}}]\n");
    assert_eq!(plugin(&["validate", "-f", "-"], &input), (0, "m is valid\n".to_owned(), String::new()));
    assert_eq!(plugin(&["render", "-f", "-"], &input).1, run(&["render", "-f", "-"], &input).1);
    let (code, _, errors) = plugin(&["validate", "-f", "-"], &format!("{HEAD}  models: []\n"));
    assert!(code == 2 && errors.contains("spec.models"), "{errors}");
    assert!(plugin(&["--version"], "").1.starts_with("kubectl-ostro "));
}

#[test]
fn the_plugin_converts_there_and_back() {
    let toml = "# mine\n[[models]]\nmodel_id = \"a/b\"\n";
    let (code, manifest, notes) = plugin(&["convert", "-f", "-", "--name", "m"], toml);
    assert_eq!((code, notes.as_str()), (0, "note: comments are not converted\n"));
    assert!(run(&["validate", "-f", "-"], &manifest).0, "{manifest}");
    let manifest = manifest + "  replicas: 2\n";
    let (code, back, notes) = plugin(&["convert", "-f", "-"], &manifest);
    assert_eq!((code, back.as_str()), (0, "[[models]]\nmodel_id = \"a/b\"\n"));
    assert_eq!(notes, "note: the TOML file cannot hold metadata.name, spec.replicas\n");
    let (code, _, errors) = plugin(&["convert", "-f", "-", "--to", "toml", "--name", "m"], &manifest);
    assert!(code == 2 && errors.contains("--name"), "{errors}");
}
