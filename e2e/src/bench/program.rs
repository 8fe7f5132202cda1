//! A program that is measured, and how one is run.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::rows::Visit;
use super::samples::Sample;
use crate::process::{Ended, output_within, run_within};

/// No measurement takes longer; what does hangs.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) trait Program {
    fn name(&self) -> &str;

    /// In the first round only.
    fn is_measured_once(&self) -> bool {
        false
    }

    /// Starts the program once (or once a setting) for these rows. `None`: it cannot do this.
    fn visit(&mut self, visit: Visit) -> Result<Option<Vec<Sample>>>;
}

/// Runs to a good end; a failure tells the last line it wrote.
pub(super) fn output_of(command: &mut Command) -> Result<Ended> {
    output_within(command, LIMIT)
}

pub(super) fn run_to_end(command: &mut Command) -> Result<Ended> {
    run_within(command, LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_how_it_ended_and_its_last_words() {
        let run = |script: &str| output_of(Command::new("sh").args(["-c", script]));
        let whole = run("echo out; echo err >&2").unwrap();
        assert_eq!((whole.output.as_str(), whole.errors.as_str()), ("out\n", "err\n"));
        let error = run("echo first >&2; echo last >&2; exit 3").err().unwrap().to_string();
        assert!(error.ends_with("exit status: 3: last"), "{error}");
        let error = run("kill -ILL $$").err().unwrap().to_string();
        assert!(error.contains("signal: 4"), "{error}");
    }
}
