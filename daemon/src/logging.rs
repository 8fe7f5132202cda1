//! Where log lines go: standard error, by level; the access log in its own form.

mod panics;
mod writer;

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use ostro_server::access_log::{self, AccessLogFormat};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter, fmt};

use crate::environment::{Color, Environment};
use crate::failure::Failure;
use crate::notice::notice;
use crate::terminal::lines;
use writer::LogWriter;

/// At the end of the program, for who reads slowly.
const FLUSH_TIME: Duration = Duration::from_secs(1);

static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// How much is logged where `RUST_LOG` says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verbosity {
    /// How often `-v` was given.
    pub(crate) flags: u8,
    /// Without any: servers tell what they do, other commands only what goes wrong.
    pub(crate) quiet: Level,
}

impl Verbosity {
    fn directives(self) -> String {
        let level = match self.flags {
            0 => self.quiet,
            1 => Level::DEBUG,
            _ => Level::TRACE,
        };
        // What we do not own speaks up for warnings only, unless all is wanted.
        let others = if self.flags > 1 { Level::DEBUG } else { Level::WARN };
        let own = format!("ostro={level},ostro_engine={level},ostro_server={level},ostro_kernels={level}");
        // The hub's client calls each try that it gives up an error; ours says it in the user's terms.
        let hub = if self.flags > 0 { others.as_str() } else { "off" };
        format!("{others},hf_hub={hub},{own}")
    }
}

pub(crate) fn start(
    environment: &Environment,
    verbosity: Verbosity,
    access_log: AccessLogFormat,
) -> Result<(), Failure> {
    let filter = match &environment.log_filter {
        Some(filter) => EnvFilter::try_new(filter)
            .map_err(|error| Failure::Usage(format!("RUST_LOG = {filter:?} is not a log filter: {error}")))?,
        None => EnvFilter::try_new(verbosity.directives()).context("log levels")?,
    };
    let colors = environment.color == Color::Allowed && std::io::stderr().is_terminal();
    let own = filter::filter_fn(|event| event.target() != access_log::TARGET);
    let writer = LogWriter::to(std::io::stderr()).context("cannot start")?;
    let writer = WRITER.get_or_init(|| writer);
    let lines =
        fmt::layer().with_writer(writer.clone()).with_ansi(colors).with_filter(filter).with_filter(own);
    let access = access_log::layer(access_log, writer.clone());
    tracing_subscriber::registry().with(lines).with(access).try_init().context("logging")?;
    panics::log();
    Ok(())
}

/// A line for a person, behind what was logged: by the log's thread where there is one, which may hold standard error's
/// lock for as long as nobody reads.
pub(crate) fn tell(line: impl Display) {
    match WRITER.get() {
        Some(writer) => writer.send(format!("{}\n", lines(&line.to_string())).into_bytes()),
        None => notice(line),
    }
}

/// Before the program ends: what was logged is written, unless nobody reads it.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_of_the_hub_speaks_only_when_asked() {
        let directives = |flags| Verbosity { flags, quiet: Level::INFO }.directives();
        for (flags, hub, own) in [(0, "hf_hub=off", "ostro=INFO"), (1, "hf_hub=WARN", "ostro=DEBUG")] {
            let directives = directives(flags);
            for expected in [hub, own] {
                assert!(directives.split(',').any(|directive| directive == expected), "{directives}");
            }
            assert!(EnvFilter::try_new(&directives).is_ok(), "{directives}");
        }
    }
}
