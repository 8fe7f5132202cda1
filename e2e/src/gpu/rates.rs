//! Rates as `ostro bench`, the engine's mixed load and llama-bench report them.

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::llama_bench::{self, Line};

/// What a rate is of, so that those of two programs can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Prefill { tokens: u64 },
    Decode { depth: u64, sequences: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) work: Work,
    pub(super) tokens_per_second: f64,
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Prefill { tokens } => write!(formatter, "prefill {tokens}"),
            Work::Decode { depth, sequences: 1 } => write!(formatter, "decode at depth {depth}"),
            Work::Decode { depth, sequences } => {
                write!(formatter, "decode at depth {depth}, {sequences} sequences")
            }
        }
    }
}

impl Rate {
    /// With the peer's rate of the same work, where it has one.
    pub(super) fn beside(&self, peers: &[Rate]) -> String {
        let ours = self.tokens_per_second;
        match peers.iter().find(|peer| peer.work == self.work).map(|peer| peer.tokens_per_second) {
            Some(peer) => format!("{ours:.0} tok/s; llama.cpp {peer:.0}, {:.2} times better", ours / peer),
            None => format!("{ours:.0} tok/s"),
        }
    }
}

/// Of `ostro bench --json`.
///
/// # Errors
/// It is no such report, or the model ran on the CPU.
pub(super) fn of_ostro(json: &str) -> Result<Vec<Rate>> {
    let report: Value = serde_json::from_str(json).context("the report of ostro bench")?;
    ensure_gpu(report["model"]["instruction_set"].as_str().unwrap_or_default())?;
    let part = |name: &str, work: fn(&Value) -> Option<Work>| -> Result<Vec<Rate>> {
        let results = report[name].as_array().with_context(|| format!("ostro bench tells no {name}"))?;
        let rate = |of| {
            let rate = Rate { work: work(of)?, tokens_per_second: of["tokens_per_second"].as_f64()? };
            Some(rate)
        };
        results.iter().map(|of| rate(of).with_context(|| format!("a {name} without its rate"))).collect()
    };
    let prefill = part("prefill", |of| Some(Work::Prefill { tokens: of["prompt_tokens"].as_u64()? }))?;
    let decode = part("decode", |of| {
        Some(Work::Decode { depth: of["depth"].as_u64()?, sequences: of["sequences"].as_u64()? })
    })?;
    Ok([prefill, decode].concat())
}

/// Of `llama-bench -o json`, which measures one sequence.
///
/// # Errors
/// It is no such report.
pub(super) fn of_llama_bench(json: &str) -> Result<Vec<Rate>> {
    let rate = |line: Line| {
        let work = match line.generated_tokens {
            0 => Work::Prefill { tokens: line.prompt_tokens },
            _ => Work::Decode { depth: line.depth, sequences: 1 },
        };
        Rate { work, tokens_per_second: line.rate }
    };
    Ok(llama_bench::parse(json)?.into_iter().map(rate).collect())
}

/// The line of the mixed load that has its rate.
///
/// # Errors
/// It has none, or the model ran on the CPU.
pub(super) fn of_mixed_load(output: &str) -> Result<String> {
    ensure_gpu(output.lines().find(|line| line.starts_with("loaded in ")).unwrap_or_default())?;
    let line = output.lines().find(|line| line.contains(" output tokens/s"));
    Ok(line.context("the mixed load tells no rate")?.to_owned())
}

/// What computes names the GPU's generation; without a GPU it is the processor's instruction set.
fn ensure_gpu(device: &str) -> Result<()> {
    ensure!(device.contains("compute capability"), "the model did not run on a GPU: {device:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "model": { "instruction_set": "NVIDIA H200, compute capability 9.0" },
        "prefill": [{ "prompt_tokens": 64, "tokens_per_second": 13.096246 }],
        "decode": [{ "depth": 0, "sequences": 1, "tokens_per_second": 9.5 },
                   { "depth": 4096, "sequences": 8, "tokens_per_second": 70.0 }]
    }"#;

    #[test]
    fn rates_stand_beside_those_of_the_same_work() {
        let peers = of_llama_bench(include_str!("../bench/fixtures/llama_bench.json")).unwrap();
        let texts: Vec<String> = of_ostro(REPORT)
            .unwrap()
            .iter()
            .map(|rate| format!("{}: {}", rate.work, rate.beside(&peers)))
            .collect();
        assert_eq!(
            texts,
            [
                "prefill 64: 13 tok/s; llama.cpp 7, 2.00 times better",
                "decode at depth 0: 10 tok/s; llama.cpp 1, 10.49 times better",
                "decode at depth 4096, 8 sequences: 70 tok/s",
            ]
        );
    }

    #[test]
    fn a_run_on_the_cpu_is_no_result() {
        let error = of_ostro(&REPORT.replace("NVIDIA H200, compute capability 9.0", "amx")).unwrap_err();
        assert!(error.to_string().contains("amx"), "{error}");
        let output = "loaded in 0.5 s on amx\n256 requests: 900 output tokens/s\n";
        assert!(of_mixed_load(output).is_err());
    }

    #[test]
    fn reports_without_rates_are_refused() {
        let output = "loaded in 0.5 s on H200 (compute capability 9.0)\n256 requests: 900 output tokens/s\n";
        assert_eq!(of_mixed_load(output).unwrap(), "256 requests: 900 output tokens/s");
        assert!(of_mixed_load(output.lines().next().unwrap()).is_err());
        assert!(of_ostro("{}").is_err() && of_ostro("").is_err());
        assert!(of_ostro(&REPORT.replace("tokens_per_second", "tokens")).is_err());
        assert!(of_llama_bench("[{}]").is_err() && of_llama_bench("").is_err());
    }
}
