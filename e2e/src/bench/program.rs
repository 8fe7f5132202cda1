//! A program that is measured, and how one is run.

use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::rows::Visit;
use super::samples::Sample;

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

/// A run that has ended.
pub(super) struct Ended {
    status: ExitStatus,
    pub(super) output: String,
    errors: String,
}

impl Ended {
    /// All that it wrote.
    pub(super) fn text(&self) -> String {
        [self.output.as_str(), &self.errors].join("\n")
    }
}

/// Runs to a good end; a failure tells the last line it wrote.
pub(super) fn output_of(command: &mut Command) -> Result<Ended> {
    let ended = run_to_end(command)?;
    let last = last_line(&ended.errors);
    ensure!(ended.status.success(), "{command:?} ended with {}: {last}", ended.status);
    Ok(ended)
}

pub(super) fn run_to_end(command: &mut Command) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let output = read_all(child.stdout.take().context("standard output is piped")?);
    let errors = read_all(child.stderr.take().context("standard error is piped")?);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    Ok(Ended { status, output: text(output), errors: text(errors) })
}

fn read_all(mut stream: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is still worth having.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or("no output")
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
