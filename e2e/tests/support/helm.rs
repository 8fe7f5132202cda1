//! The charts as Helm renders them; no cluster is asked.

use std::path::PathBuf;
use std::process::{Command, Output};

use ostro_e2e::{cluster, skipped};
use serde_json::Value;

pub const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

/// Names are as `docs/kubernetes.md` gives them.
pub const RELEASE: &str = "ostro-operator";
pub const NAMESPACE: &str = "ostro";

pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// `None`, with a printed reason, where it is not built.
    pub fn find() -> Option<Helm> {
        let program = cluster::helm().unwrap();
        if program.is_none() {
            skipped::tell("Helm is not built: run `ostro-e2e cluster build`");
        }
        Some(Helm { program: program? })
    }

    pub fn try_run(&self, words: &[&str]) -> Output {
        // No settings of the user's, and no cluster.
        let mut command = Command::new(&self.program);
        command.current_dir(CHARTS).env_remove("KUBECONFIG").env("HELM_KUBEAPISERVER", "http://127.0.0.1:9");
        command.args(words).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that must fail.
    pub fn error(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(!output.status.success(), "{words:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The operator's objects with these `--set` values.
    pub fn render(&self, values: &[&str]) -> Vec<Value> {
        documents(&self.run(&template(values)))
    }

    pub fn render_crds(&self) -> Vec<Value> {
        documents(&self.run(&["template", "ostro-crds", "ostro-crds"]))
    }
}

/// The words that render the operator's chart.
pub fn template<'a>(values: &[&'a str]) -> Vec<&'a str> {
    let words = ["template", RELEASE, "ostro-operator", "--namespace", NAMESPACE];
    let values = values.iter().flat_map(|value| ["--set", value]);
    words.into_iter().chain(values).collect()
}

pub fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// The one object of a kind.
pub fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}

/// A published image; `mark` is a colon or an at sign.
pub fn image(name: &str, mark: &str, version: &str) -> String {
    format!("ghcr.io/ostro-dev/{name}{mark}{version}")
}

/// The image that values name by its digest.
pub fn reference(values: &Value) -> String {
    format!("{}@{}", values["repository"].as_str().unwrap(), values["digest"].as_str().unwrap())
}
