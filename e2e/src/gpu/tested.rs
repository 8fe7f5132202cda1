//! Runs of test binaries, and what they say.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::run_within;

/// A run of a test at least, in which none failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tested {
    /// As in `3 passed; 0 failed; 1 ignored`.
    pub(super) counts: String,
    /// Reasons of tests that had not what they need, none twice.
    pub(super) skipped: Vec<String>,
}

/// One test after another: each takes the GPU's memory for itself.
///
/// # Errors
/// A test failed, which is named with its words; no test was run; or the run did not end within `limit`.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<Tested> {
    let ended = run_within(command.args(["--test-threads=1", "--nocapture"]), limit)?;
    let text = ended.text();
    if !ended.status.success() {
        bail!("{}: {}", ended.status, failure(&text));
    }
    read(&text)
}

fn read(text: &str) -> Result<Tested> {
    let result = text.lines().find_map(|line| line.strip_prefix("test result: ok. "));
    let result = result.context("no test result was printed")?;
    ensure!(!result.starts_with("0 passed"), "no test was run");
    let counts: Vec<&str> = result.split("; ").take(3).collect();
    let mut skipped: Vec<String> = Vec::new();
    for (_, reason) in text.lines().filter_map(|line| line.split_once("skipped: ")) {
        if !skipped.iter().any(|known| known == reason) {
            skipped.push(reason.to_owned());
        }
    }
    Ok(Tested { counts: counts.join("; "), skipped })
}

/// Names of the tests that failed and what the first of them said; else the last that was printed.
fn failure(text: &str) -> String {
    let lines = || text.lines().map(str::trim_end);
    let names: Vec<&str> = match text.rsplit_once("\nfailures:\n") {
        Some((_, list)) => list.lines().map_while(|line| line.strip_prefix("    ")).collect(),
        None => Vec::new(),
    };
    let words =
        lines().skip_while(|line| !line.contains("' panicked at ") && !line.contains(") panicked at "));
    let words = words.skip(1).take_while(|line| !line.starts_with("note: ")).take(4);
    let words = words.collect::<Vec<_>>().join(" ");
    let last = lines().rfind(|line| !line.is_empty()).unwrap_or("no output");
    match (names.is_empty(), words.is_empty()) {
        (true, true) => last.to_owned(),
        (true, false) => words,
        (false, true) => names.join(", "),
        (false, false) => format!("{}: {words}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_skips_are_told_once() {
        let text = "\
running 3 tests
test one ... skipped: no GPU
ok
test two ... skipped: no GPU
ok
test three ... ok

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 4.2s
";
        let tested = read(text).unwrap();
        assert_eq!(tested.counts, "3 passed; 0 failed; 1 ignored");
        assert_eq!(tested.skipped, ["no GPU"]);
        assert!(read("running 3 tests\n").is_err());
        assert!(read(&text.replace("3 passed", "0 passed")).is_err(), "all were filtered out");
    }

    #[test]
    fn a_failure_names_its_test_and_its_words() {
        let text = "\
test qwen3 ... 
thread 'qwen3' (41) panicked at daemon/engine/tests/cuda.rs:61:9:
assertion `left == right` failed: qwen3: 70 tokens
  left: [1]
 right: [2]
note: run with `RUST_BACKTRACE=1`
FAILED

failures:

failures:
    qwen3
    llama

test result: FAILED. 1 passed; 2 failed
";
        let expected =
            "qwen3, llama: assertion `left == right` failed: qwen3: 70 tokens   left: [1]  right: [2]";
        assert_eq!(failure(text), expected);
        assert_eq!(failure("running 1 test\nCUDA error\n\n"), "CUDA error");
    }
}
