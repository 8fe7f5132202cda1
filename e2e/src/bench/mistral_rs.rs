//! mistral.rs by its Python package, which has no server: prompts alone and decoding only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::huge_pages::HugePages;
use super::install;
use super::program::{Program, measured_output_of};
use super::rows::Visit;
use super::samples::Sample;

pub(super) struct MistralRs {
    packages: PathBuf,
    /// What its wheel was built for.
    tags: String,
    model: PathBuf,
    threads: usize,
}

const SCRIPT: &str = include_str!("../../python/mistralrs_rates.py");

impl MistralRs {
    pub(super) fn prepare(model: &Path, threads: usize) -> Result<MistralRs> {
        let packages = install::mistral_rs()?;
        let tags = install::wheel_tags(&packages, &install::MISTRAL_RS)?;
        Ok(MistralRs { packages, tags, model: model.to_owned(), threads })
    }

    /// For the page.
    pub(super) fn describe(&self) -> String {
        format!(
            "mistral.rs {} (wheel for `{}`; which instruction sets it uses was not checked, since it gives no account of \
             them; it has no server, so that rows of serving stay empty; each row once, since some take minutes)",
            install::MISTRAL_RS.version,
            self.tags,
        )
    }

    /// Prompt tokens, tokens to generate.
    fn rates(&self, prompt_tokens: u32, tokens: u32, pages: &mut HugePages) -> Result<Rates> {
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).arg(&self.model);
        command.args([prompt_tokens.to_string(), tokens.to_string()]);
        command.env("PYTHONPATH", &self.packages).env("HF_HUB_OFFLINE", "1");
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        parse(&measured_output_of(&mut command, "mistral.rs", pages)?.output)
    }
}

impl Program for MistralRs {
    fn name(&self) -> &str {
        "mistral.rs"
    }

    /// At 30 tokens a second a prompt of 4096 takes more than two minutes.
    fn is_measured_once(&self) -> bool {
        true
    }

    fn visit(&mut self, visit: Visit, pages: &mut HugePages) -> Result<Option<Vec<Sample>>> {
        let value = match visit {
            Visit::Prefill { tokens } => self.rates(tokens, 1, pages)?.prefill,
            Visit::Decode { depth } => self.rates(depth.max(1), 128, pages)?.decode,
            Visit::Batch | Visit::Serve | Visit::Edits => return Ok(None),
        };
        Ok(Some(vec![Sample { id: visit.id(), setting: "", value }]))
    }
}

/// Tokens a second.
#[derive(Debug, PartialEq)]
struct Rates {
    prefill: f64,
    decode: f64,
}

/// The last line of the script; what the package logs comes before it.
fn parse(output: &str) -> Result<Rates> {
    let line = output.trim_end().lines().last().context("mistral.rs reports nothing")?;
    let report: Value = serde_json::from_str(line).with_context(|| format!("not a report: {line}"))?;
    let number = |name: &str| report[name].as_f64().with_context(|| format!("mistral.rs tells no {name}"));
    Ok(Rates { prefill: number("prefill")?, decode: number("decode")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_the_last_line() {
        let output = "loading\n{\"prefill\": 87.5, \"decode\": 41.1}\n";
        assert_eq!(parse(output).unwrap(), Rates { prefill: 87.5, decode: 41.1 });
        assert!(parse("").is_err() && parse("{\"prefill\": 1}").is_err());
    }

    #[test]
    fn what_is_known_of_its_build_is_told() {
        let tags = "cp310-abi3-linux".to_owned();
        let program = MistralRs { packages: PathBuf::new(), tags, model: PathBuf::new(), threads: 2 };
        let text = program.describe();
        assert!(text.contains("(wheel for `cp310-abi3-linux`; "), "{text}");
        assert!(text.contains("instruction sets it uses was not checked"), "{text}");
    }
}
