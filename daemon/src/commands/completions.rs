//! `ostro completions SHELL`.

use clap::ArgMatches;
use clap_complete::{Shell, generate};

use crate::args;
use crate::failure::Failure;

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let shell = *matches.get_one::<Shell>("shell").expect("clap demands a shell");
    let mut script = Vec::new();
    generate(shell, &mut args::command(), "ostro", &mut script);
    super::print(&script)
}
