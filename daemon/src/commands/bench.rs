//! `ostro bench`: rates of a model in this process, or of a server.

mod in_process;
mod server;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Serialize;

use crate::args::Numbers;
use crate::environment::Environment;
use crate::failure::Failure;

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    match matches.get_one::<String>("url") {
        Some(url) => server::run(url, matches),
        None => {
            refuse_server_flags(matches)?;
            in_process::run(matches, environment)
        }
    }
}

/// clap does not: `--url` conflicts with what is given, and so is not missed.
fn refuse_server_flags(matches: &ArgMatches) -> Result<(), Failure> {
    let given = |flag: &&str| matches.value_source(flag) == Some(ValueSource::CommandLine);
    match ["model", "rate", "requests", "seed"].into_iter().find(given) {
        Some(flag) => Err(Failure::Usage(format!("--{flag}: is for a server, which --url names"))),
        None => Ok(()),
    }
}

/// Prints a report for programs, or what `table` makes of it for people.
fn print_report<R: Serialize>(
    report: &R,
    matches: &ArgMatches,
    table: impl FnOnce(&R) -> String,
) -> Result<(), Failure> {
    let text = match matches.get_flag("json") {
        true => serde_json::to_string_pretty(report).map_err(anyhow::Error::new)? + "\n",
        false => table(report),
    };
    super::print(text.as_bytes())
}

/// The numbers of a sweep; zeros, which ask for nothing, are gone.
fn numbers_above_zero(matches: &ArgMatches, name: &str) -> Vec<u32> {
    numbers(matches, name).into_iter().filter(|number| *number > 0).collect()
}

fn numbers(matches: &ArgMatches, name: &str) -> Vec<u32> {
    matches.get_one::<Numbers>(name).map(|numbers| numbers.0.clone()).unwrap_or_default()
}

fn number(matches: &ArgMatches, name: &str) -> u32 {
    *matches.get_one::<u32>(name).expect("the flag has a default")
}
