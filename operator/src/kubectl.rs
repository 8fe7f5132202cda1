//! `kubectl ostro`: the operator's own reading, building and comparing, with the rights of whoever calls it. Writes
//! nothing to the cluster: what is sent to it is a dry run.

mod args;
mod chat;
mod cluster;
mod convert;
mod diff;
mod explained;
#[cfg(test)]
mod fake_api;
mod list;
mod logs;
mod plan;
mod pods;
mod reference;
mod status;

use std::process::ExitCode;

use clap::Parser;

use crate::{offline, terminal};
use args::{Arguments, Command};

/// What a command found, beside what it printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// No change, all ready, or just done.
    Nothing,
    /// A change, or an object that is not ready.
    Something,
}

/// The program `kubectl-ostro`. Exit codes as `kubectl diff` has them.
pub fn kubectl_plugin() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(Found::Nothing) => ExitCode::SUCCESS,
        Ok(Found::Something) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", terminal::error(&error));
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<Found> {
    match command {
        Command::Validate(args) => offline::validate(args)?,
        Command::Render(args) => offline::render(args)?,
        Command::Convert(args) => convert::run(args)?,
        Command::Plan(args) => return wait(plan::run(args)),
        Command::Status(args) => return wait(status::run(args)),
        Command::Logs(args) => wait(logs::run(args))?,
        Command::Chat(args) => wait(chat::run(args))?,
    }
    Ok(Found::Nothing)
}

fn wait<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
