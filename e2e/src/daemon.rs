//! An `ostro serve` process for a test: started on a free port, stopped and reaped when dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::exposition::samples;
use crate::http;
use crate::process::{self, Owned};

/// A running daemon.
pub struct Daemon {
    process: Owned,
    port: u16,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts `ostro serve` on `model` with further flags, and waits until the model is loaded.
    pub fn start(model: &Path, flags: &[&str]) -> Result<Daemon> {
        Daemon::launch(Command::new(binary()?), model, flags, Duration::from_secs(120))
    }

    /// As `start`, of a program that need not be this build's, within `limit`.
    pub(crate) fn launch(
        mut program: Command,
        model: &Path,
        flags: &[&str],
        limit: Duration,
    ) -> Result<Daemon> {
        let port = process::free_port()?;
        let process = program
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string(), "-m"])
            .arg(model)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut process = Owned::new(process);
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = process.stderr.take().context("standard error is piped")?;
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut daemon = Daemon { process, port, log };
        daemon.await_loaded(limit)?;
        Ok(daemon)
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What the daemon has written to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The first listed model's id.
    pub fn model_id(&self) -> Result<String> {
        model_id(&self.base())
    }

    /// All metrics, in Prometheus' text form.
    pub(crate) fn metrics(&self) -> Result<String> {
        Ok(http::get(&format!("{}/metrics", self.base())).call()?.body_mut().read_to_string()?)
    }

    /// The value of a metric, summed over its label sets.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics()?;
        let mut values = samples(&text, name).map(|sample| sample.value);
        let first = values.next().with_context(|| format!("no metric {name} in:\n{text}"))?;
        Ok(values.fold(first, |sum, value| sum + value))
    }

    /// Resident memory of the process in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.pid())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        match self.process.terminate(limit)? {
            Some(status) => Ok(status),
            None => bail!("still running {limit:?} after SIGTERM; log:\n{}", self.log()),
        }
    }

    pub fn signal(&self, name: &str) -> Result<()> {
        self.process.signal(name)
    }

    fn await_loaded(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.process.try_wait()? {
                bail!("the daemon ended with {status}; log:\n{}", self.log());
            }
            let models = models(&self.base()).unwrap_or_default();
            if models.iter().any(|model| model["status"] == "loaded") {
                return Ok(());
            }
            let has_failed = |model: &Value| model["status"] == "failed";
            if let Some(model) = models.first().filter(|_| models.iter().all(has_failed)) {
                bail!("the model did not load: {}; log:\n{}", model["error"], self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the model did not load within {limit:?}; log:\n{}", self.log())
    }
}

/// What the server at `base` lists.
pub(crate) fn models(base: &str) -> Result<Vec<Value>> {
    let list: Value = http::get(&format!("{base}/v1/models")).call()?.body_mut().read_json()?;
    Ok(list["data"].as_array().cloned().unwrap_or_default())
}

/// The id of the first of them.
pub(crate) fn model_id(base: &str) -> Result<String> {
    let models = models(base)?;
    let id = models.first().and_then(|model| model["id"].as_str());
    Ok(id.context("no model is listed")?.to_owned())
}

/// The `ostro` that was built beside this program: `target/PROFILE/ostro`.
pub fn binary() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("the program has a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let binary = folder.join("ostro");
    anyhow::ensure!(binary.is_file(), "{} is missing; run cargo build first", binary.display());
    Ok(binary)
}
