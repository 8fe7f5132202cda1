//! The operator of `InferenceDeployment` objects and its kubectl plugin: two programs of one code, so that what the
//! plugin says of an object is what the operator does with it.
#![forbid(unsafe_code)]

mod api_calls;
mod args;
mod backoff;
mod client;
mod contests;
mod discovery;
mod http;
mod in_words;
mod inference_deployment;
mod kubectl;
mod leader;
mod metrics;
mod offline;
mod run;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Arguments, Command};

pub use kubectl::kubectl_plugin;

/// Of an answer that it cannot read kube's client warns with the whole of it, whatever it holds; the watch that asked
/// says what is wrong.
const LOGGED: &str = "info,kube=warn,kube_client::client=error";

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
            eprintln!("error: {}", in_words::in_words(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(args: args::RunArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    // It waits most of the time, and each thread that allocates has a heap of its own, with holes of its own.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run::run(args))
}
