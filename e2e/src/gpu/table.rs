//! What was checked: one row each, kept as Markdown while the checks go on.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

/// How a check ended that did not fail.
pub(super) enum Done {
    Passed(String),
    /// For a reason that lies in the machine or the packed folder.
    Skipped(String),
}

#[derive(Default)]
pub(super) struct Table {
    title: String,
    rows: Vec<Row>,
    out: Option<PathBuf>,
}

struct Row {
    check: String,
    result: String,
    seconds: Option<f64>,
    has_failed: bool,
}

impl Table {
    /// `out` is written after every row: who ends this program early finds what was checked till then.
    pub(super) fn new(title: String, out: Option<PathBuf>) -> Table {
        Table { title, rows: Vec::new(), out }
    }

    /// Runs one check and says whether the next ones have what they need of it.
    ///
    /// # Errors
    /// The file cannot be written; a check that fails is a row.
    pub(super) fn step(&mut self, check: String, work: impl FnOnce() -> Result<Done>) -> Result<bool> {
        let start = Instant::now();
        let ended = work();
        let has_passed = matches!(ended, Ok(Done::Passed(_)));
        let (result, has_failed) = match ended {
            Ok(Done::Passed(result)) => (result, false),
            Ok(Done::Skipped(reason)) => (format!("skipped: {reason}"), false),
            Err(error) => (format!("**failed**: {error:#}"), true),
        };
        self.push(Row { check, result, seconds: Some(start.elapsed().as_secs_f64()), has_failed })?;
        Ok(has_passed)
    }

    /// Something that a check measured.
    ///
    /// # Errors
    /// As for `step`.
    pub(super) fn measured(&mut self, what: String, result: String) -> Result<()> {
        self.push(Row { check: what, result, seconds: None, has_failed: false })
    }

    pub(super) fn failures(&self) -> usize {
        self.rows.iter().filter(|row| row.has_failed).count()
    }

    fn push(&mut self, row: Row) -> Result<()> {
        eprint!("{row}");
        self.rows.push(row);
        let Some(out) = &self.out else { return Ok(()) };
        std::fs::write(out, self.to_string()).with_context(|| format!("cannot write {}", out.display()))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n\n| check | result | seconds |\n|---|---|---:|", self.title)?;
        self.rows.iter().try_for_each(|row| row.fmt(formatter))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { check, result, seconds, has_failed: _ } = self;
        let mut time = String::new();
        if let Some(seconds) = seconds {
            write!(time, "{seconds:.1}")?;
        }
        // Neither may end a cell or a row.
        let result = result.trim().replace('|', "\\|").replace('\n', " ");
        writeln!(formatter, "| {check} | {result} | {time} |")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_failure_is_a_row_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("table.md");
        let mut table = Table::new("Checks of 1a2b.".into(), Some(out.clone()));
        assert!(table.step("a".into(), || Ok(Done::Passed("fine".into()))).unwrap());
        assert!(!table.step("b".into(), || bail!("one|two\nthree")).unwrap());
        assert!(!table.step("c".into(), || Ok(Done::Skipped("no model".into()))).unwrap());
        table.measured("d".into(), "5 tok/s".into()).unwrap();
        let expected = "Checks of 1a2b.

| check | result | seconds |
|---|---|---:|
| a | fine | 0.0 |
| b | **failed**: one\\|two three | 0.0 |
| c | skipped: no model | 0.0 |
| d | 5 tok/s |  |
";
        assert_eq!(table.to_string(), expected);
        assert_eq!(std::fs::read_to_string(out).unwrap(), expected);
        assert_eq!(table.failures(), 1);
    }
}
