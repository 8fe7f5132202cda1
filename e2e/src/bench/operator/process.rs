//! The operator as a process outside of the cluster, and what the kernel and its own metrics say of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Simulated;
use crate::exposition::{samples, sum, total};
use crate::http;
use crate::process::{Owned, free_port, resident_bytes};

/// A lease that was not let go of is taken after 15 s.
const LEAD_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(30);
/// Of `/proc/PID/stat`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Operator {
    process: Owned,
    metrics: String,
}

/// Of one moment; counts are since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) reconciles: f64,
    pub(super) errors: f64,
    pub(super) writes: f64,
    pub(super) events: f64,
    /// Questions to pods' daemons.
    pub(super) asked: f64,
    /// Those that nothing at all came back of, for each of which a reconcile waited.
    pub(super) silent: f64,
}

impl Operator {
    /// Waits until it leads.
    pub(super) fn start(cluster: &Simulated, program: &Path, identity: &str) -> Result<Operator> {
        let port = free_port()?;
        let mut command: Command = cluster.command(program)?;
        command.args(["run", "--image", "registry.local/ostro:1", "--identity", identity]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut operator =
            Operator { process: Owned::new(process), metrics: format!("http://127.0.0.1:{port}/metrics") };
        let start = Instant::now();
        while !operator.text().is_ok_and(|text| sum(&text, "ostro_operator_leading") == 1.0) {
            if let Some(status) = operator.process.try_wait()? {
                bail!("the operator ended with {status}");
            }
            ensure!(start.elapsed() < LEAD_LIMIT, "the operator does not lead");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(operator)
    }

    pub(super) fn read(&self) -> Result<Reading> {
        let text = self.text()?;
        let calls = samples(&text, "ostro_operator_api_calls_total");
        let events = calls.filter(|call| call.label("resource") == "events");
        let asked = || samples(&text, "ostro_operator_daemon_requests_total");
        Ok(Reading {
            resident_bytes: resident_bytes(self.process.id())?,
            cpu_seconds: cpu_seconds(self.process.id())?,
            reconciles: sum(&text, "ostro_operator_reconciles_total"),
            errors: sum(&text, "ostro_operator_reconcile_errors_total"),
            writes: sum(&text, "ostro_operator_api_writes_total"),
            events: total(events),
            asked: total(asked()),
            silent: total(asked().filter(|asked| asked.label("reply") == "timed_out")),
        })
    }

    /// Waits until nothing was reconciled for `quiet` and at least `reconciles` were.
    pub(super) fn settle(&self, reconciles: f64, quiet: Duration) -> Result<Reading> {
        const LIMIT: Duration = Duration::from_secs(300);
        let start = Instant::now();
        let (mut last, mut since) = (self.read()?, Instant::now());
        while last.reconciles < reconciles || since.elapsed() < quiet {
            ensure!(start.elapsed() < LIMIT, "not settled within {LIMIT:?}: {last:?}");
            std::thread::sleep(Duration::from_millis(200));
            let reading = self.read()?;
            if reading.reconciles != last.reconciles {
                (last, since) = (reading, Instant::now());
            }
        }
        Ok(last)
    }

    /// So that it lets go of the lease.
    pub(super) fn stop(mut self) -> Result<()> {
        let ended = self.process.terminate(END_LIMIT)?;
        ensure!(ended.is_some(), "the operator does not end after SIGTERM");
        Ok(())
    }

    fn text(&self) -> Result<String> {
        Ok(http::get(&self.metrics).call()?.body_mut().read_to_string()?)
    }
}

/// The operator that was built beside this program.
pub(super) fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("ostro-operator");
    ensure!(program.is_file(), "{} is missing: cargo build --release -p ostro-operator", program.display());
    Ok(program)
}

/// Of all threads, in the kernel and outside.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_cpu_ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND).context("no times in /proc/PID/stat")
}

/// The fields `utime` and `stime` of proc(5); the name before them may hold spaces and parentheses.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_after_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 250 31 5 6 20 0 9 0 4242 1 2";
        assert_eq!(parse_cpu_ticks(stat), Some(281));
        assert_eq!(parse_cpu_ticks("7 (a) S 1"), None);
        cpu_seconds(std::process::id()).unwrap();
    }
}
