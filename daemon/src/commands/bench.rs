//! `ostro bench`: prefill and decode rates of a model in this process.

use std::fmt::Write;

use anyhow::Context;
use clap::ArgMatches;
use ostro_engine::Engine;
use ostro_engine::bench::{BenchOptions, BenchReport, bench};

use crate::args::Numbers;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::translate::Plan;

/// What the command line asks to measure.
struct Sweep {
    prompt_lens: Vec<u32>,
    gen_len: u32,
    depths: Vec<u32>,
    concurrencies: Vec<u32>,
    iterations: u32,
    warmup: u32,
}

pub(super) fn run(mut plan: Plan, matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let sweep = Sweep::read(matches)?;
    let engine = super::load_only(&mut plan, environment)?.engine;
    let report = measure(&engine, &sweep)?;
    let text = match matches.get_flag("json") {
        true => serde_json::to_string_pretty(&report).context("cannot write the report")? + "\n",
        false => table(&report),
    };
    super::print(text.as_bytes())
}

impl Sweep {
    fn read(matches: &ArgMatches) -> Result<Sweep, Failure> {
        let numbers =
            |name| matches.get_one::<Numbers>(name).map(|numbers| numbers.0.clone()).unwrap_or_default();
        let number = |name| *matches.get_one::<u32>(name).expect("the flag has a default");
        let sweep = Sweep {
            prompt_lens: numbers("prompt-len").into_iter().filter(|length| *length > 0).collect(),
            gen_len: number("gen-len"),
            depths: numbers("depth"),
            concurrencies: numbers("concurrency"),
            iterations: number("iterations"),
            warmup: number("warmup"),
        };
        match sweep.gen_len > 0 && sweep.depths.contains(&0) {
            true => Err(Failure::Usage(
                "--depth must be greater than 0 when --gen-len is greater than 0".to_owned(),
            )),
            false => Ok(sweep),
        }
    }

    /// The engine's benchmark sweeps prompts and batches; depths take a run each.
    fn runs(&self) -> Vec<BenchOptions> {
        let base = BenchOptions {
            prompt_tokens: Vec::new(),
            decode_tokens: self.gen_len,
            batches: Vec::new(),
            batch_prompt_tokens: self.depths.first().copied().unwrap_or(1).max(1),
            repetitions: self.iterations,
        };
        let prompts = BenchOptions { prompt_tokens: self.prompt_lens.clone(), ..base.clone() };
        let depths = self.depths.iter().filter(|_| self.gen_len > 0).map(|depth| BenchOptions {
            batches: self.concurrencies.clone(),
            batch_prompt_tokens: *depth,
            ..base.clone()
        });
        std::iter::once(prompts).chain(depths).collect()
    }
}

fn measure(engine: &Engine, sweep: &Sweep) -> anyhow::Result<BenchReport> {
    let mut total = BenchReport { model: engine.info().clone(), prefill: Vec::new(), decode: Vec::new() };
    for options in sweep.runs() {
        if sweep.warmup > 0 {
            let warmup = BenchOptions { repetitions: sweep.warmup, ..options.clone() };
            bench(engine, &warmup, &mut |_| {}).context("cannot warm up")?;
        }
        let report = bench(engine, &options, &mut |_| {}).context("cannot measure")?;
        total.prefill.extend(report.prefill);
        total.decode.extend(report.decode);
    }
    Ok(total)
}

fn table(report: &BenchReport) -> String {
    let model = &report.model;
    let mut text = format!(
        "{} {}, {} parameters, {} threads, {}\n",
        model.name.as_deref().unwrap_or(&model.architecture),
        model.weight_type,
        model.parameters,
        model.threads,
        model.instruction_set
    );
    // Writing to a String cannot fail.
    for of in &report.prefill {
        let _ = writeln!(
            text,
            "prefill {:>6} tokens              {:>9.1} tokens/s   first token {:>8.1} ms",
            of.prompt_tokens,
            of.tokens_per_second,
            of.first_token_seconds * 1e3
        );
    }
    for of in &report.decode {
        let _ = writeln!(
            text,
            "decode  {:>6} tokens at {:>5}, x{:<3} {:>9.1} tokens/s   step {:>15.2} ms   served {:>9.1} tokens/s",
            of.decode_tokens,
            of.prompt_tokens,
            of.sequences,
            of.tokens_per_second,
            of.step_seconds * 1e3,
            of.served_tokens_per_second
        );
    }
    text
}
