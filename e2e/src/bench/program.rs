//! A program that is measured, and how one is run.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::huge_pages::{HugePages, Watch};
use super::rows::Visit;
use super::samples::Sample;
use crate::process::{Ended, output_watched, output_within, run_within};

/// No measurement takes longer; what does hangs.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) trait Program {
    fn name(&self) -> &str;

    /// In the first round only.
    fn is_measured_once(&self) -> bool {
        false
    }

    /// Starts the program once (or once a setting) for these rows. `None`: it cannot do this.
    fn visit(&mut self, visit: Visit, pages: &mut HugePages) -> Result<Option<Vec<Sample>>>;
}

/// Runs to a good end; a failure tells the last line it wrote.
pub(super) fn output_of(command: &mut Command) -> Result<Ended> {
    output_within(command, LIMIT)
}

/// As `output_of`, and notes in `pages` where the memory of `program` lay.
pub(super) fn measured_output_of(
    command: &mut Command,
    program: &'static str,
    pages: &mut HugePages,
) -> Result<Ended> {
    let mut watch = Watch::default();
    let ended = output_watched(command, LIMIT, |process_id| watch.look(process_id));
    pages.note(program, watch.most());
    ended
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

    #[test]
    fn a_measured_run_is_noted_whatever_its_end() {
        let mut pages = HugePages::default();
        let mut run = |script: &str, program| {
            measured_output_of(Command::new("sh").args(["-c", script]), program, &mut pages).is_ok()
        };
        assert_eq!([run("exit 0", "good"), run("exit 3", "bad")], [true, false]);
        // How much a shell has by its end depends on the moment.
        let text = pages.describe();
        assert!(text.starts_with("bad ") && text.contains(", good "), "{text}");
    }
}
