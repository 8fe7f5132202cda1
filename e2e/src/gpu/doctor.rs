//! What `ostro doctor` says of the machine, which must find a GPU to use.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::packed::Packed;
use super::table::Done;
use crate::process::run_within;

/// Of `--json`.
#[derive(Deserialize)]
struct Report {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    state: String,
    text: String,
}

/// Tells the GPUs and what the doctor warns of.
///
/// # Errors
/// A check of the doctor's failed, which is told; or there is no report.
pub(super) fn check(packed: &Packed, limit: Duration) -> Result<Done> {
    let mut command = Command::new(packed.program("ostro"));
    // Without a GPU models would run on the CPU, and nothing would be wrong.
    let ended = run_within(command.args(["doctor", "--json"]).env("OSTRO_REQUIRE_GPU", "1"), limit)?;
    let Ok(report) = serde_json::from_str::<Report>(&ended.output) else {
        bail!("{}, without a report: {}", ended.status, ended.text().trim());
    };
    let told = report.told()?;
    ensure!(ended.status.success(), "{}: {}", ended.status, ended.errors.trim());
    Ok(Done::Passed(told))
}

impl Report {
    fn told(&self) -> Result<String> {
        let failed = self.texts(|check| check.state == "failed");
        ensure!(failed.is_empty(), "{}", failed.join("; "));
        self.checks.iter().find(|check| check.name == "gpu").context("nothing is said of GPUs")?;
        Ok(self.texts(|check| check.name == "gpu" || check.state != "ok").join("; "))
    }

    fn texts(&self, is_told: impl Fn(&Check) -> bool) -> Vec<String> {
        let told = self.checks.iter().filter(|check| is_told(check));
        told.map(|Check { name, state, text }| match state.as_str() {
            "ok" => format!("{name} {text}"),
            _ => format!("{state}: {name} {text}"),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(checks: &[[&str; 3]]) -> Result<String> {
        let checks = checks.iter().map(|check| check.map(str::to_owned));
        let checks = checks.map(|[name, state, text]| Check { name, state, text });
        Report { checks: checks.collect() }.told()
    }

    #[test]
    fn gpus_and_warnings_are_told_and_failures_fail() {
        let (cpu, gpu) = (["cpu", "ok", "Xeon"], ["gpu", "ok", "0: H200"]);
        assert_eq!(told(&[cpu, gpu]).unwrap(), "gpu 0: H200");
        let full = ["hub cache", "warning", "hardly enough"];
        assert_eq!(told(&[cpu, gpu, full]).unwrap(), "gpu 0: H200; warning: hub cache hardly enough");
        let none = ["gpu", "failed", "no GPU"];
        assert_eq!(told(&[cpu, none]).unwrap_err().to_string(), "failed: gpu no GPU");
        assert!(told(&[cpu]).is_err());
    }
}
