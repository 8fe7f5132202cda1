//! The `ostro` program: reads the command line and the environment, runs one command, says how it went.
#![forbid(unsafe_code)]

mod args;
mod chat;
mod commands;
mod environment;
mod failure;
mod gpu;
mod hub;
mod load;
mod logging;
mod notice;
mod progress;
mod refusal;
mod terminal;
mod translate;

use std::process::ExitCode;

fn main() -> ExitCode {
    let result = commands::run(&args::command().get_matches());
    // Where the log's queue is full, the reason of the end would be lost.
    logging::flush();
    let code = failure::exit_code(result);
    logging::flush();
    code
}
