//! The operator of `InferenceDeployment` objects and its kubectl plugin: two programs of one code, so that what the
//! plugin says of an object is what the operator does with it.
#![forbid(unsafe_code)]

mod api_calls;
mod args;
mod backoff;
mod call_limit;
mod client;
mod contests;
mod discovery;
mod going;
mod http;
mod in_words;
mod inference_deployment;
mod kubectl;
mod leader;
mod logging;
mod memory;
mod metrics;
mod offline;
mod readable;
mod readiness;
mod run;
mod short_pages;
mod shortened;
mod terminal;
#[cfg(test)]
mod tests;
mod traces;
mod watch_errors;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use traces::Traces;

pub use kubectl::kubectl_plugin;

/// The program `ostro-operator`.
pub fn operator() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(args) => start(args),
        Command::Crd => offline::crd(),
        Command::Validate(args) => offline::validate(&args),
        Command::Render(args) => offline::render(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", terminal::error(&error));
            ExitCode::FAILURE
        }
    }
}

fn start(args: args::RunArgs) -> anyhow::Result<()> {
    let traces = traces::start(&args.identity)?;
    let logging = logging::start(args.log_filter_file.clone(), traces.as_ref());
    // It waits most of the time, and each thread that allocates has a heap of its own, with holes of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run::run(args) => ended,
            never = logging.follow() => match never {},
        }
    });
    traces.iter().for_each(Traces::end);
    ended
}
