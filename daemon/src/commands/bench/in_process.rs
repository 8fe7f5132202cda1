//! Prefill and decode rates of a model in this process.

mod table;

use anyhow::anyhow;
use clap::ArgMatches;
use clap::parser::ValueSource;
use ostro_config::{Command, Document};
use ostro_engine::bench::{BenchError, BenchOption, BenchOptions, OptionProblem, bench};

use super::{number, numbers, numbers_above_zero, print_report};
use crate::commands::{load, load_only, start_logging, supported};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::translate::Plan;
use table::table;

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let options = read_options(matches)?;
    let mut plan = supported(&load(Document::for_command(Command::Run), matches)?, environment)?;
    start_logging(&plan, matches, environment)?;
    let together_max = plan.models.iter().map(|model| model.engine.schedule.sequences_max).min();
    check_together(&options, together_max.unwrap_or(usize::MAX))?;
    without_drafts(&mut plan, matches)?;
    let engine = load_only(&mut plan, environment)?.engine;
    let report = bench(&engine, &options, &mut |_| ()).map_err(failure)?;
    print_report(&report, matches, table)
}

fn read_options(matches: &ArgMatches) -> Result<BenchOptions, Failure> {
    let options = BenchOptions {
        prompt_tokens: numbers_above_zero(matches, "prompt-len"),
        decode_tokens: number(matches, "gen-len"),
        depths: numbers(matches, "depth"),
        sequences: numbers(matches, "concurrency"),
        repetitions: number(matches, "iterations"),
        warmup: number(matches, "warmup"),
    };
    if options.prompt_tokens.is_empty() && options.decode_tokens == 0 {
        return Err(Failure::Usage("--prompt-len 0 --gen-len 0: one must be more than 0".to_owned()));
    }
    options.check_alone().map_err(in_flags)?;
    Ok(options)
}

fn check_together(options: &BenchOptions, together_max: usize) -> Result<(), Failure> {
    match options.sequences.iter().find(|sequences| **sequences as usize > together_max) {
        Some(sequences) if options.decode_tokens > 0 => Err(Failure::Usage(format!(
            "--concurrency {sequences}: must be 1 to {together_max}, the sequences that run together \
             (--max-seqs, --max-batch-size)"
        ))),
        _ => Ok(()),
    }
}

/// What a step takes is measured, so a step makes one token of each sequence, whatever a file has for servers.
fn without_drafts(plan: &mut Plan, matches: &ArgMatches) -> Result<(), Failure> {
    let is_flag = matches.value_source("runtime.prompt_lookup_n") == Some(ValueSource::CommandLine);
    for model in &mut plan.models {
        let configured = model.engine.schedule.prompt_lookup_n.replace(0);
        if let (Some(tokens @ 1..), true) = (configured, is_flag) {
            return Err(Failure::Usage(format!(
                "--prompt-lookup-n {tokens}: must be 0, steps of one token a sequence are measured; \
                 with --url a server's are as it is"
            )));
        }
    }
    Ok(())
}

/// The engine's words about its options, in the words of the command line.
fn in_flags(problem: OptionProblem) -> Failure {
    let OptionProblem { option, value, allowed } = problem;
    let (flag, remedy) = match option {
        BenchOption::PromptTokens => ("prompt-len", ""),
        BenchOption::DecodeTokens => ("gen-len", ""),
        BenchOption::Depths => ("depth", ""),
        BenchOption::Sequences if value > 0 => ("concurrency", " (--pa-context-len)"),
        BenchOption::Sequences => ("concurrency", ""),
        BenchOption::Repetitions => ("iterations", ""),
    };
    Failure::Usage(format!("--{flag} {value}: must be {allowed}{remedy}"))
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Option(problem) => in_flags(problem),
        BenchError::NeverTogether { sequences, depth } => Failure::Usage(format!(
            "--concurrency {sequences} --depth {depth}: the sequences never decoded all at once; \
             --prefix-cache-n {sequences} or a larger --max-num-batched-tokens lets them"
        )),
        error => Failure::Runtime(anyhow!(error).context("cannot measure")),
    }
}
