//! Release builds with the GPU backend, and where cargo put them.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::cargo;

/// One run of cargo.
struct Build {
    words: &'static [&'static str],
    targets: &'static [Target],
}

struct Target {
    name: &'static str,
    /// Where two targets have one name it is another.
    packed: &'static str,
}

const fn target(name: &'static str) -> Target {
    Target { name, packed: name }
}

const BUILDS: [Build; 4] = [
    Build { words: &["build", "--package", "ostro", "--bin", "ostro"], targets: &[target("ostro")] },
    Build {
        words: &[
            "build",
            "--package",
            "ostro-engine",
            "--example",
            "random_model",
            "--example",
            "tiny_model",
            "--example",
            "mixed_load",
            "--example",
            "bench",
        ],
        targets: &[target("random_model"), target("tiny_model"), target("mixed_load"), target("bench")],
    },
    Build {
        words: &["test", "--no-run", "--package", "ostro-engine", "--test", "golden", "--test", "cuda"],
        targets: &[target("golden"), target("cuda")],
    },
    Build {
        words: &["test", "--no-run", "--package", "ostro-kernels", "--test", "cuda"],
        targets: &[Target { name: "cuda", packed: "kernels_cuda" }],
    },
];

const FLAGS: [&str; 4] = ["--release", "--features", "cuda", "--message-format=json-render-diagnostics"];

/// Names and paths of [`PROGRAMS`](super::packed::PROGRAMS), built now where they are not up to date.
pub(super) fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut all = Vec::new();
    for Build { words, targets } in &BUILDS {
        let names: Vec<&str> = targets.iter().map(|target| target.packed).collect();
        eprintln!("building {}", names.join(", "));
        let mut command = cargo();
        command.args(*words).args(FLAGS).stderr(Stdio::inherit());
        let output = command.output().context("cannot start cargo")?;
        ensure!(output.status.success(), "{command:?} failed with {}", output.status);
        let messages = String::from_utf8_lossy(&output.stdout);
        for Target { name, packed } in *targets {
            let path = executable(&messages, name);
            all.push((*packed, path.with_context(|| format!("cargo tells of no program {name}"))?));
        }
    }
    Ok(all)
}

/// Of cargo's messages, which are one JSON object a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ours = messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name);
    ours.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::super::packed::PROGRAMS;
    use super::*;

    #[test]
    fn a_program_is_found_among_the_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"cuda"},"executable":null}
{"reason":"build-script-executed","target":{"name":"cuda"},"executable":"/t/build-script"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"cuda"},"executable":"/t/release/deps/cuda-1f"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "cuda"), Some("/t/release/deps/cuda-1f".into()));
        assert_eq!(executable(messages, "golden"), None);
    }

    #[test]
    fn everything_that_is_packed_is_built() {
        let built: Vec<&str> =
            BUILDS.iter().flat_map(|build| build.targets).map(|target| target.packed).collect();
        assert_eq!(built, PROGRAMS);
    }
}
