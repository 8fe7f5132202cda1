//! `ostro doctor`: what a person on call wants to know about this machine. It changes nothing, loads no model, opens
//! each GPU only to leave it again, and asks the hub only if it is told to.

mod checks;
mod hub;
mod machine;

use clap::ArgMatches;
use ostro_server::weights::without_credentials;
use serde::Serialize;

use crate::environment::Environment;
use crate::failure::Failure;
use checks::{Check, State, checks, table};
use machine::Machine;

/// For programs; people get the checks alone.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    machine: Machine,
    checks: Vec<Check>,
}

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let mut machine = Machine::look(environment)?;
    if matches.get_flag("hub") {
        machine.hub = Some(hub::ask(&machine.hub_address, environment.hf_offline)?);
    }
    machine.hub_address = without_credentials(&machine.hub_address);
    let report = Report { checks: checks(&machine), machine };
    let text = match matches.get_flag("json") {
        true => serde_json::to_string_pretty(&report).map_err(anyhow::Error::new)? + "\n",
        false => table(&report.checks),
    };
    super::print(text.as_bytes())?;
    match report.checks.iter().filter(|check| check.state == State::Failed).count() {
        0 => Ok(()),
        1 => Err(Failure::Runtime(anyhow::anyhow!("1 check failed"))),
        failed => Err(Failure::Runtime(anyhow::anyhow!("{failed} checks failed"))),
    }
}
