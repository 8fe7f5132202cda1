//! llama.cpp at its best: the better of two builds, huge pages, flash attention on and off.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::build::{Build, Threading};
use super::huge_pages::HugePages;
use super::install;
use super::machine::Machine;
use super::program::{Program, measured_output_of, output_of, run_to_end};
use super::rows::Visit;
use super::samples::{Sample, Summary};
use super::serve::{self, CONTEXT_TOKENS, Ready, SEQUENCES};
use crate::download::LLAMA_CPP;
use crate::llama_bench::{self, Line};

pub(super) struct LlamaCpp {
    build: Build,
    model: PathBuf,
    threads: usize,
    client: PathBuf,
}

/// How the builds compared, for the page.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) threading: Threading,
    pub(super) prefill: f64,
    pub(super) decode: f64,
}

/// Rounds in which the builds are compared.
const CHOICE_ROUNDS: usize = 3;

impl LlamaCpp {
    /// Installs, builds, checks and compares. The better build first among the choices.
    pub(super) fn prepare(machine: &Machine, model: &Path, client: &Path) -> Result<(LlamaCpp, Vec<Choice>)> {
        install::tools()?;
        let sources = install::llama_cpp()?;
        let new = |threading| -> Result<LlamaCpp> {
            let build = Build::ensure(&sources, LLAMA_CPP.version, threading, &machine.processor)?;
            let (model, client) = (model.to_owned(), client.to_owned());
            Ok(LlamaCpp { build, model, threads: machine.threads, client })
        };
        let mut builds = Threading::ALL.into_iter().map(new).collect::<Result<Vec<_>>>()?;
        for build in &builds {
            let unused = machine.processor.unused_features(&build.system_info()?);
            let name = build.build.threading.name();
            ensure!(unused.is_empty(), "llama.cpp with {name} does not use {}", unused.join(", "));
        }
        let mut choices = compare(&builds)?;
        // Their product: a build that wins one and loses the other by more is not the better one.
        choices.sort_by(|a, b| (b.prefill * b.decode).total_cmp(&(a.prefill * a.decode)));
        builds.retain(|build| build.build.threading == choices[0].threading);
        let best = builds.pop().context("a build is left")?;
        Ok((best, choices))
    }

    /// Commit of its sources, as it says itself.
    pub(super) fn version(&self) -> Result<String> {
        let output = output_of(&mut self.bench(&["-p", "1", "-n", "0", "--no-warmup"]))?;
        let report = llama_bench::parse(&output.output)?;
        Ok(report.first().context("llama-bench measured nothing")?.commit.clone())
    }

    pub(super) fn build(&self) -> Threading {
        self.build.threading
    }

    fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = self.build.program("llama-bench");
        command.arg("-m").arg(&self.model).args(["-t", &self.threads.to_string()]);
        command.args(["-lm", "none", "-r", "1", "-o", "json"]).args(arguments);
        command
    }

    fn batched_bench(&self, arguments: &[&str]) -> Command {
        let mut command = self.build.program("llama-batched-bench");
        command.arg("-m").arg(&self.model).args(["-t", &self.threads.to_string(), "-c", CONTEXT_TOKENS]);
        command.args(["-b", "2048", "-ub", "512", "-no-kvu", "-lm", "none", "--output-format", "jsonl"]);
        command.args(arguments);
        command
    }

    /// What it says it uses; only the server tells, and before it misses its model.
    fn system_info(&self) -> Result<String> {
        let mut command = self.build.program("llama-server");
        let folder = tempfile::tempdir()?;
        command.args(["-lv", "4", "-m"]).arg(folder.path().join("none.gguf"));
        parse_system_info(&run_to_end(&mut command)?.text())
    }

    fn rates(&self, visit: Visit, arguments: &[&str], pages: &mut HugePages) -> Result<Option<Vec<Sample>>> {
        let mut command = self.bench(&[arguments, &["-fa", "0,1"]].concat());
        let output = measured_output_of(&mut command, "llama-bench", pages)?;
        let sample = |of: Line| Sample { id: visit.id(), setting: flash_setting(&of), value: of.rate };
        Ok(Some(llama_bench::parse(&output.output)?.into_iter().map(sample).collect()))
    }

    fn batch(&self, visit: Visit, pages: &mut HugePages) -> Result<Option<Vec<Sample>>> {
        let mut samples = Vec::new();
        for (setting, flag) in [("-fa 0", "off"), ("-fa 1", "on")] {
            let arguments = ["-npp", "128", "-ntg", "128", "-npl", SEQUENCES, "-fa", flag];
            let mut command = self.batched_bench(&arguments);
            let output = measured_output_of(&mut command, "llama-batched-bench", pages)?;
            samples.push(Sample { id: visit.id(), setting, value: parse_batched(&output.output)? });
        }
        Ok(Some(samples))
    }

    fn server(&self) -> Command {
        let mut command = self.build.program("llama-server");
        command.arg("-m").arg(&self.model).args(["-t", &self.threads.to_string(), "-c", CONTEXT_TOKENS]);
        command.args(SERVER_ARGUMENTS);
        command
    }

    fn serve(&self, pages: &mut HugePages) -> Result<Option<Vec<Sample>>> {
        let served = serve::serve(self.server(), Ready::Healthy, &self.client)?;
        pages.note("llama-server", served.pages);
        Ok(Some(served.samples))
    }
}

/// Without the host's prompt cache, which holds gigabytes and helps no unique prompt.
pub(super) const SERVER_ARGUMENTS: [&str; 8] =
    ["-np", SEQUENCES, "-no-kvu", "-cram", "0", "-lm", "none", "--no-ui"];

impl Program for LlamaCpp {
    fn name(&self) -> &str {
        "llama.cpp"
    }

    fn visit(&mut self, visit: Visit, pages: &mut HugePages) -> Result<Option<Vec<Sample>>> {
        match visit {
            Visit::Prefill { tokens } => self.rates(visit, &["-p", &tokens.to_string(), "-n", "0"], pages),
            Visit::Decode { depth } => {
                self.rates(visit, &["-p", "0", "-n", "128", "-d", &depth.to_string()], pages)
            }
            Visit::Batch => self.batch(visit, pages),
            Visit::Serve => self.serve(pages),
            Visit::Edits => Ok(Some(serve::edits(self.server(), Ready::Healthy, visit)?)),
        }
    }
}

/// Prefill and decode of each build, in turn.
fn compare(builds: &[LlamaCpp]) -> Result<Vec<Choice>> {
    let mut values = vec![(Vec::new(), Vec::new()); builds.len()];
    for _ in 0..CHOICE_ROUNDS {
        for (build, (prefill, decode)) in builds.iter().zip(&mut values) {
            let output = output_of(&mut build.bench(&["-p", "512", "-n", "128", "-fa", "1"]))?;
            for line in llama_bench::parse(&output.output)? {
                if line.prompt_tokens > 0 { prefill.push(line.rate) } else { decode.push(line.rate) }
            }
        }
    }
    let choice = |(build, (prefill, decode)): (&LlamaCpp, &(Vec<f64>, Vec<f64>))| {
        ensure!(!prefill.is_empty() && !decode.is_empty(), "llama-bench measured nothing");
        let median = |values: &[f64]| Summary::of("", values).median;
        let threading = build.build.threading;
        Ok(Choice { threading, prefill: median(prefill), decode: median(decode) })
    };
    builds.iter().zip(&values).map(choice).collect()
}

fn flash_setting(line: &Line) -> &'static str {
    if line.flash { "-fa 1" } else { "-fa 0" }
}

fn parse_system_info(log: &str) -> Result<String> {
    let line = log.lines().find(|line| line.contains("system_info:"));
    line.map(str::to_owned).context("llama-server does not tell its system_info")
}

/// The decode rate of all sequences, of `llama-batched-bench --output-format jsonl`.
fn parse_batched(output: &str) -> Result<f64> {
    let report = output.lines().find(|line| line.trim_start().starts_with('{'));
    let report: Value = serde_json::from_str(report.context("llama-batched-bench reports nothing")?)?;
    report["speed_tg"].as_f64().context("llama-batched-bench tells no speed_tg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_llama_bench_are_read() {
        let lines = llama_bench::parse(include_str!("fixtures/llama_bench.json")).unwrap();
        let read: Vec<_> =
            lines.iter().map(|line| (line.prompt_tokens, flash_setting(line), line.rate)).collect();
        assert_eq!(
            read,
            [
                (64, "-fa 0", 6.548123),
                (0, "-fa 0", 0.905791),
                (64, "-fa 1", 26.453902),
                (0, "-fa 1", 1.127739)
            ]
        );
        assert_eq!(lines[0].commit, "0c1e570");
        assert!(llama_bench::parse("[{}]").is_err() && llama_bench::parse("").is_err());
    }

    #[test]
    fn line_of_the_instruction_sets_is_found() {
        let log =
            "0.00 I x: y\n0.01 I cmn  common_param: system_info: n_threads = 2 / 2 | CPU : AVX2 = 1 |\n";
        assert!(parse_system_info(log).unwrap().ends_with("AVX2 = 1 |"));
        assert!(parse_system_info("nothing").is_err());
    }

    #[test]
    fn report_of_llama_batched_bench_is_read() {
        let output = include_str!("fixtures/llama_batched_bench.jsonl");
        assert_eq!(parse_batched(output).unwrap(), 6.864064);
        assert!(parse_batched("no report").is_err());
    }
}
