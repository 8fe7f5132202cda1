use super::*;
use crate::Loaded;

const HEAD: &str =
    "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: m}\nspec:\n";

fn load(spec: &str) -> Result<Loaded, Problems> {
    Loaded::from_document(Document::parse_manifest("m.yaml", &format!("{HEAD}{spec}"))?)
}

fn check(spec: &str, expected: &str) {
    assert_eq!(load(spec).unwrap_err().to_string(), expected, "{spec}");
}

#[test]
fn a_spec_is_the_toml_of_the_same_tables() {
    let spec = "  replicas: 2
  defaultModelId: b/c
  models:
  - modelId: b/c
    device: {hfCache: /cache, cpu: true}
    adapter: {lora: [{alias: x, source: y/z}]}
  pagedAttn: {contextLen: 4096, blockSize: 16}
  runtime: {maxSeqs: 8}
  server: {accessLogFormat: json}
";
    let toml = "default_model_id = \"b/c\"
[[models]]
model_id = \"b/c\"
device = { hf_cache = \"/cache\", cpu = true }
adapter.lora = [{ alias = \"x\", source = \"y/z\" }]
[paged_attn]
context_len = 4096
block_size = 16
[runtime]
max_seqs = 8
[server]
access_log_format = \"json\"
";
    let manifest = load(spec).unwrap();
    assert_eq!(manifest.config, Loaded::from_toml("m.toml", toml).unwrap().config);
    // And back: what was written, no more.
    let again = Loaded::from_toml("again.toml", &manifest.written_toml()).unwrap();
    assert_eq!(again.config, manifest.config);
    assert!(!manifest.written_toml().contains("max_num_batched_tokens"));
    let spec = Document::from_spec(&again.written_spec()).unwrap();
    assert_eq!(Loaded::from_document(spec).unwrap().config, manifest.config);
}

#[test]
fn a_gpu_that_a_spec_asks_for_is_seen() {
    let asks = |resources: &str| {
        load(&format!("  models: [{{modelId: a/b}}]\n  resources: {resources}\n")).unwrap().asks_for_gpu()
    };
    for resources in [
        "{limits: {cpu: 1, nvidia.com/gpu: 1}}",
        "{limits: {nvidia.com/gpu: \"2\"}}",
        "{requests: {nvidia.com/gpu: 1}}",
        "{limits: {nvidia.com/gpu.shared: 1}}",
        "{limits: {nvidia.com/mig-1g.10gb: 1}}",
    ] {
        assert!(asks(resources), "{resources}");
    }
    for resources in [
        "",
        "{}",
        "{limits: 1}",
        "{limits: {memory: 1Gi}}",
        "{limits: {nvidia.com/gpu: 0}}",
        "{limits: {nvidia.com/gpu: \"0\"}}",
        "{limits: {nvidia.com/gpu: null}}",
        "{limits: {amd.com/gpu: 1}}",
        "{limits: {nvidia.com/hostdev: 1}}",
    ] {
        assert!(!asks(resources), "{resources}");
    }
    let toml = Loaded::from_toml("a.toml", "[[models]]\nmodel_id = \"a/b\"\n").unwrap();
    assert!(!toml.asks_for_gpu());
}

#[test]
fn problems_name_the_field_as_the_manifest_has_it() {
    check(
        "  models: [{modelId: a/b}]\n  pagedAttn: {memoryMb: 0}\n",
        "m.yaml:6: spec.pagedAttn.memoryMb = 0 must be a whole number from 1",
    );
    check(
        "  models: [{modelId: a/b}]\n  pagedAttn:\n    memoryMb: 5\n    contextLen: 5\n",
        "m.yaml:7: spec.pagedAttn.memoryMb = 5 conflicts with pagedAttn.contextLen",
    );
    check(
        "  models: [{modelId: org/tiny_llama}, {modelId: org/b}]\n  defaultModelId: tiny\n",
        "m.yaml:6: spec.defaultModelId = \"tiny\" must be the modelId of a models entry: \"org/b\", \"org/tiny_llama\"",
    );
    check("  models: []\n", "m.yaml:5: spec.models = […] is missing: at least one models entry is needed");
    check("  replicas: 1\n", "m.yaml: spec.models is missing: at least one models entry is needed");
    check("  model: []\n", "m.yaml:5: spec.model is not a known field; did you mean models?");
    check(
        "  models: [{modelId: a/b}]\n  pagedAttn: {memory_mb: 5}\n",
        "m.yaml:6: spec.pagedAttn.memory_mb is not a known key; did you mean memoryMb?",
    );
    check(
        "  models: [{modelId: a/b, dtyp: f32}]\n",
        "m.yaml:5: spec.models[0].dtyp = \"f32\" is not a known key; did you mean models[0].dtype?",
    );
    check("  models: [{modelId: a/b}]\n  server: 5\n", "m.yaml:6: spec.server = 5 must be an object");
    check(
        "  models: [{modelId: a/b}]\n  pagedAttn: {mode: on}\n",
        "m.yaml:6: spec.pagedAttn.mode = true must be \"auto\", \"on\" or \"off\"",
    );
}

/// Each as kubectl sends it: sigs.k8s.io/yaml 1.6.
#[test]
fn scalars_are_those_of_kubectl() {
    let cases = [
        ("1.5", "1.5"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("0644", "420"),
        ("0o644", "420"),
        ("-0x1f", "-31"),
        ("0b11", "3"),
        ("1_000", "1000"),
        ("089", "89"),
        ("+5", "5"),
        (".5", "0.5"),
        ("99999999999999999999", "1e20"),
        ("1e999", "\"1e999\""),
        ("1.2.3", "\"1.2.3\""),
        ("0x", "\"0x\""),
        ("0x-1", "\"0x-1\""),
        ("12:30", "\"12:30\""),
        ("_1", "\"_1\""),
        ("20Gi", "\"20Gi\""),
        ("2026-01-01", "\"2026-01-01\""),
        ("\"1.5\"", "\"1.5\""),
        ("!!str 1.5", "\"1.5\""),
        ("yes", "true"),
        ("'yes'", "\"yes\""),
        ("~", "null"),
    ];
    for (yaml, expected) in cases {
        let json = read(&format!("{HEAD}  value: {yaml}\n")).unwrap();
        let expected: Json = serde_json::from_str(expected).unwrap();
        assert_eq!(json["spec"]["value"], expected, "{yaml}");
    }
}

#[test]
fn a_file_that_is_no_manifest_says_why() {
    let cases = [
        ("a: [", "m.yaml:2: is not YAML: "),
        ("a: 1\na: 2\n", "m.yaml:2: has the key \"a\" twice"),
        ("a: &x [*x]\n", "m.yaml:1: has an alias within what it stands for"),
        ("<<: 1\n", "m.yaml:1: has << with what is no map"),
        ("a: &a [{b: 1}]\nc:\n  <<: *a\n", "m.yaml:3: has << with what is no map"),
        ("a: &a {b: 1}\nc:\n  b: 2\n  <<: *a\n", "m.yaml:4: has the key \"b\" before <<, which gives it too"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a\n", "m.yaml:4: has the key \"<<\" twice"),
        ("kind: Deployment\n", "m.yaml: holds no object of kind InferenceDeployment"),
        ("kind: InferenceDeployment\n", "m.yaml:1: apiVersion must be inference.ostro.dev/v1alpha1"),
        (
            "kind: InferenceDeployment\napiVersion: inference.ostro.dev/v1alpha1\n---\n\
             kind: InferenceDeployment\napiVersion: inference.ostro.dev/v1alpha1\n",
            "m.yaml:4: holds a second InferenceDeployment; one can be read",
        ),
    ];
    for (text, expected) in cases {
        let error = Document::parse_manifest("m.yaml", text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
    let deep = "[".repeat(10_000);
    assert!(Document::parse_manifest("m.yaml", &deep).is_err());
}

/// Of the file's one object.
fn read(text: &str) -> Result<Json, Problems> {
    Ok(Manifest::all("m.yaml", text)?[0].json())
}

#[test]
fn aliases_stand_for_what_they_name() {
    let spec = "  a: &a {p: 1, q: &q [2]}\n  b: *a\n  c: {<<: *a, p: 3}\n  d: {<<: [*a, {r: *q}]}\n  \"<<\": 5\n  &k key: *k\n";
    let json = read(&format!("{HEAD}{spec}")).unwrap();
    let spec = &json["spec"];
    assert_eq!(spec["b"], spec["a"]);
    assert_eq!(spec["c"], serde_json::json!({ "p": 3, "q": [2] }));
    assert_eq!(spec["d"], serde_json::json!({ "p": 1, "q": [2], "r": [2] }));
    assert_eq!(spec["<<"], 5);
    assert_eq!(spec["key"], "key");
}

#[test]
fn aliases_do_not_grow_without_bound() {
    let level = |number: usize| {
        let before = format!("*a{} , ", number - 1).repeat(10);
        format!("  a{number}: &a{number} [{before}]\n")
    };
    let laughs = |levels: usize| -> String {
        ["  a0: &a0 [1]\n".to_owned()].into_iter().chain((1..=levels).map(level)).collect()
    };
    assert!(read(&format!("{HEAD}{}", laughs(3))).is_ok());
    for levels in [6, 60] {
        let error = read(&format!("{HEAD}{}", laughs(levels))).unwrap_err().to_string();
        assert!(error.contains("has anchors and aliases that make it too large"), "{error}");
    }
    let nested = format!(
        "  a: {}[{}]{}\n",
        (0..50).map(|n| format!("&a{n} [")).collect::<String>(),
        "1 , ".repeat(50_000),
        "]".repeat(50)
    );
    let error = read(&format!("{HEAD}{nested}")).unwrap_err().to_string();
    assert!(error.contains("has anchors and aliases that make it too large"), "{error}");
    let long = format!("  a: &a {}\n  b: [{}]\n", "x".repeat(50_000), "*a , ".repeat(1000));
    let error = read(&format!("{HEAD}{long}")).unwrap_err().to_string();
    assert!(error.contains("has anchors and aliases that make it too large"), "{error}");
}

#[test]
fn all_objects_of_a_file_are_read() {
    let object =
        |name: &str| format!("{{apiVersion: {API_VERSION}, kind: {KIND}, metadata: {{name: {name}}}}}");
    let list = format!(
        "kind: List\napiVersion: v1\nitems:\n- {}\n- {{kind: Secret}}\n- {}\n",
        object("a"),
        object("b")
    );
    let text = format!("{list}---\nkind: ConfigMap\n---\n{}\n---\nkind: List\n", object("c"));
    let all = Manifest::all("m.yaml", &text).unwrap();
    let names: Vec<String> = all.iter().map(|one| one.json()["metadata"]["name"].to_string()).collect();
    assert_eq!(names, ["\"a\"", "\"b\"", "\"c\""]);
}

#[test]
fn json_is_read_with_its_own_escapes() {
    let object = |name: &str| {
        format!(
            "{{\"apiVersion\": \"{API_VERSION}\", \"kind\": \"{KIND}\", \"metadata\": {{\"name\": \"{name}\"}}}}"
        )
    };
    let text = format!("{}\n{}", object("a\\ud83d\\ude00"), object("b"));
    let names: Vec<_> =
        Manifest::all("m.json", &text).unwrap().iter().map(|one| one.name().map(str::to_owned)).collect();
    assert_eq!(names, [Some("a\u{1f600}".to_owned()), Some("b".to_owned())]);
}

#[test]
fn what_readers_do_not_agree_on_matters_where_it_is_read() {
    let odd = [
        "on: b",
        "0x10: b",
        "~: b",
        "null: b",
        "1.0: b",
        "c: !!binary aGVsbG8=",
        "c: !!int 1",
        "c: !x {d: 1}",
    ];
    for odd in odd {
        let error = read(&format!("{HEAD}  a: {{{odd}}}\n")).unwrap_err().to_string();
        let is_told =
            ["put it in quotes", "which is not supported"].iter().any(|words| error.contains(words));
        assert!(is_told && error.starts_with("m.yaml:5: has the "), "{odd}: {error}");
        let beside = format!("{HEAD}  a: 1\n---\nkind: Other\nx: {{{odd}}}\n");
        assert!(read(&beside).is_ok(), "{odd}");
    }
    for fine in ["1: b", "\"on\": b", "!!str on: b", "c: !!map {d: 1}", "c: !!seq [1]", "c: !!str 1"] {
        assert!(read(&format!("{HEAD}  a: {{{fine}}}\n")).is_ok(), "{fine}");
    }
}

#[test]
fn json_is_as_strict_as_yaml() {
    let text = format!(r#"{{"apiVersion": "{API_VERSION}", "kind": "{KIND}", "a": 1, "a": 2}}"#);
    let error = Manifest::all("m.json", &text).unwrap_err().to_string();
    assert!(error.contains("has the key \"a\" twice"), "{error}");
}
