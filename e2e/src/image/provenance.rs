//! How images are made, as SLSA's provenance (v1) has it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::architecture::Architecture;
use super::programs;

/// What a build's parameters mean: those of `programs::build_words`.
const BUILD_TYPE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/e2e/src/image/programs.rs");
/// Anybody's machine: nobody but the key's owner vouches for it.
const BUILDER: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/e2e");

/// Sources without changes of a known commit.
#[derive(PartialEq, Eq)]
pub(super) struct Sources {
    commit: String,
    compiler: String,
}

impl Sources {
    /// # Errors
    /// `git` or `rustc` cannot tell, or there are changes that are not committed.
    pub(super) fn read() -> Result<Sources> {
        let changes = said("git", &["status", "--porcelain"])?;
        ensure!(
            changes.is_empty(),
            "the sources have changes that are not committed, and provenance names a commit: {}",
            changes.lines().next().unwrap_or_default().trim()
        );
        Ok(Sources { commit: said("git", &["rev-parse", "HEAD"])?, compiler: said("rustc", &["--version"])? })
    }

    /// To be asked once programs are built.
    ///
    /// # Errors
    /// They are others now.
    pub(super) fn ensure_same(&self) -> Result<()> {
        ensure!(Sources::read()? == *self, "the sources have changed while programs were built of them");
        Ok(())
    }

    /// The predicate of an image with the program of the package `name`.
    ///
    /// # Errors
    /// None but of formatting the times.
    pub(super) fn provenance(
        &self,
        name: &str,
        architecture: Architecture,
        started: OffsetDateTime,
    ) -> Result<Value> {
        let command = [&["cargo"], programs::build_words(name).as_slice()].concat();
        Ok(json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "command": command,
                    "target": architecture.target(),
                },
                "internalParameters": { "rustc": self.compiler },
                "resolvedDependencies": [{
                    "uri": concat!("git+", env!("CARGO_PKG_REPOSITORY")),
                    "digest": { "gitCommit": self.commit },
                }],
            },
            "runDetails": {
                "builder": { "id": BUILDER },
                "metadata": {
                    "startedOn": started.format(&Rfc3339)?,
                    "finishedOn": OffsetDateTime::now_utc().format(&Rfc3339)?,
                },
            },
        }))
    }
}

/// What a command of the checkout says.
fn said(program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", words.join(" "), errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provenance_names_commit_and_command() {
        let sources = Sources { commit: "c0ffee".to_owned(), compiler: "rustc 1.95.0".to_owned() };
        let started = OffsetDateTime::UNIX_EPOCH;
        let predicate = sources.provenance("ostro", Architecture::Arm64, started).unwrap();
        let definition = &predicate["buildDefinition"];
        assert_eq!(definition["resolvedDependencies"][0]["digest"]["gitCommit"], "c0ffee");
        assert_eq!(definition["externalParameters"]["target"], "aarch64-unknown-linux-gnu");
        let command = definition["externalParameters"]["command"].to_string();
        assert!(command.starts_with(r#"["cargo","build","--release""#), "{command}");
        assert_eq!(predicate["runDetails"]["metadata"]["startedOn"], "1970-01-01T00:00:00Z");
    }
}
