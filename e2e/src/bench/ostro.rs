//! Ostro itself, through its command line and its server.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::huge_pages::HugePages;
use super::program::{Program, measured_output_of};
use super::rows::Visit;
use super::samples::Sample;
use super::serve::{self, CONTEXT_TOKENS, Ready, SEQUENCES};

pub(super) struct Ostro {
    binary: PathBuf,
    model: PathBuf,
    threads: usize,
}

impl Ostro {
    pub(super) fn new(binary: PathBuf, model: PathBuf, threads: usize) -> Ostro {
        Ostro { binary, model, threads }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(name).arg("-m").arg(&self.model).args(["--threads", &self.threads.to_string()]);
        command
    }

    fn serve(&self) -> Command {
        let mut command = self.command("serve");
        command.args(["--max-seqs", SEQUENCES, "--pa-context-len", CONTEXT_TOKENS]);
        command
    }

    fn bench(&self, arguments: &[&str], pages: &mut HugePages) -> Result<Value> {
        let mut command = self.command("bench");
        // As in llama.cpp's programs, which keep no prefixes: what is measured takes the warm-up's blocks again, not fresh
        // memory, whose first touch takes a tenth of a prompt's time on some machines. Sequences that decode together
        // then start up to a dozen tokens apart, beyond the depth asked for.
        command
            .args(["--json", "--iterations", "1", "--warmup", "1", "--prefix-cache-n", "0"])
            .args(arguments);
        let output = measured_output_of(&mut command, "ostro bench", pages)?.output;
        serde_json::from_str(&output).context("the report of ostro bench")
    }

    fn decode(&self, depth: &str, sequences: &str, pages: &mut HugePages) -> Result<Value> {
        let arguments = ["--prompt-len", "0", "--gen-len", "128", "--depth", depth];
        self.bench(&[&arguments[..], &["--concurrency", sequences]].concat(), pages)
    }
}

impl Program for Ostro {
    fn name(&self) -> &str {
        "Ostro"
    }

    fn visit(&mut self, visit: Visit, pages: &mut HugePages) -> Result<Option<Vec<Sample>>> {
        let rate = |report: &Value, part: &str| {
            let value = report[part][0]["tokens_per_second"].as_f64().context("no rate in the report")?;
            Ok(Some(vec![Sample { id: visit.id(), setting: "", value }]))
        };
        match visit {
            Visit::Prefill { tokens } => {
                let report = self.bench(&["--prompt-len", &tokens.to_string(), "--gen-len", "0"], pages)?;
                rate(&report, "prefill")
            }
            Visit::Decode { depth } => rate(&self.decode(&depth.to_string(), "1", pages)?, "decode"),
            Visit::Batch => rate(&self.decode("128", "16", pages)?, "decode"),
            Visit::Serve => {
                let mut command = self.serve();
                // As the peers are: what is compared is the work of each token.
                command.args(["--prompt-lookup-n", "0"]);
                let served = serve::serve(command, Ready::Loaded, &self.binary)?;
                pages.note("ostro serve", served.pages);
                Ok(Some(served.samples))
            }
            Visit::Edits => Ok(Some(serve::edits(self.serve(), Ready::Loaded, visit)?)),
        }
    }
}
