//! Logs as JSON on standard error. The filter comes from a file that is read again and again, so that a person on call
//! sees more without a restart; from `RUST_LOG` where there is no file.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::filter::{FilterExt, FilterFn, Targets};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::traces::{self, Traces};

/// Of an answer that it cannot read kube's client warns with the whole of it, whatever it holds; the watch that asked
/// says what is wrong.
const LOGGED: &str = "info,kube=warn,kube_client::client=error";
/// The kubelet takes up to a minute to bring a change of a ConfigMap into a pod.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Longer ones are cut.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What changes the filter of a process.
pub(crate) struct Logging {
    handle: reload::Handle<EnvFilter, Registry>,
    file: Option<PathBuf>,
    /// As it was read last, or why it could not be.
    read: Result<String, String>,
}

/// From now on.
pub(crate) fn start(file: Option<PathBuf>, traces: Option<&Traces>) -> Logging {
    let (filter, logging) = make(file);
    let lines = fmt::layer().json().with_writer(io::stderr).with_filter(filter);
    let traces = traces.map(|traces| traces.layer());
    tracing_subscriber::registry().with(lines).with(traces).init();
    logging.complain();
    logging.warn_of_silence();
    logging
}

/// Of a filter by the targets of lines; one by their spans is not looked through.
fn is_silent(text: &str) -> bool {
    let targets = text.parse::<Targets>();
    !text.is_empty() && targets.is_ok_and(|targets| !targets.would_enable("ostro_operator", &Level::ERROR))
}

/// The filter of lines, which have no spans that are for traces only.
fn make(file: Option<PathBuf>) -> (impl Filter<Registry>, Logging) {
    let read = file.as_deref().map_or_else(|| Ok(String::new()), read);
    let given = read.as_ref().ok().and_then(|text| filter(text).ok());
    let default = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let (filter, handle) = reload::Layer::new(given.flatten().unwrap_or_else(default));
    let is_for_logs = FilterFn::new(|metadata| metadata.target() != traces::TARGET);
    (filter.and(is_for_logs), Logging { handle, file, read })
}

impl Logging {
    /// For ever; a filter that is wrong leaves the one before.
    pub(crate) async fn follow(mut self) -> Infallible {
        let Some(file) = self.file.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(READ_EVERY).await;
            let file = file.clone();
            // A disk that hangs holds up nothing else.
            if let Ok(now) = tokio::task::spawn_blocking(move || read(&file)).await {
                self.take(now);
            }
        }
    }

    fn take(&mut self, now: Result<String, String>) {
        if now == self.read {
            return;
        }
        self.read = now;
        self.complain();
        if let Ok(text) = &self.read
            && let Ok(Some(filter)) = filter(text)
        {
            // By the filter of before: that of after may hide it.
            tracing::info!(filter = text, "the log filter changes");
            if let Err(error) = self.handle.reload(filter) {
                tracing::warn!(%error, "the log filter cannot change");
            }
            self.warn_of_silence();
        }
    }

    /// As a misspelt name makes: past the filter, since it is what is wrong.
    fn warn_of_silence(&self) {
        if self.read.as_ref().is_ok_and(|text| is_silent(text)) {
            let plain = tracing_subscriber::registry().with(fmt::layer().json().with_writer(io::stderr));
            tracing::subscriber::with_default(plain, || {
                tracing::warn!(filter = ?self.read, "the log filter hides even the operator's errors");
            });
        }
    }

    fn complain(&self) {
        let Some(file) = &self.file else { return };
        let file = file.display();
        match self.read.as_ref().map(|text| filter(text)) {
            Err(error) => tracing::warn!(%file, error, "cannot read the log filter"),
            Ok(Err(error)) => {
                tracing::warn!(%file, error, "this is no log filter: the one before, or the default, stays")
            }
            Ok(Ok(_)) => {}
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map(|_| text.trim().to_owned()).map_err(|error| error.to_string())
}

/// None of an empty text.
fn filter(text: &str) -> Result<Option<EnvFilter>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    EnvFilter::try_new(text).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Lines;

    #[test]
    fn a_filter_that_hides_all_is_found_out() {
        for (text, expected) in [
            ("ostro_oprator=info", true),
            ("off", true),
            ("kube=debug,ostro_operator=off", true),
            ("ostro_operator=error", false),
            ("warn", false),
            ("ostro_operator::inference_deployment=debug,error", false),
            ("", false),
        ] {
            assert_eq!(is_silent(text), expected, "{text}");
        }
    }

    #[test]
    fn a_filter_counts_from_its_change_and_a_wrong_one_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("ostro_operator=info\n");
        let (filter, mut logging) = make(Some(file.path().to_owned()));
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().json().with_writer(move || writer.clone()).with_filter(filter);
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let mut told = |text: Option<&str>| {
            text.iter().for_each(|text| write(text));
            for _ in 0..2 {
                logging.take(read(file.path()));
            }
            let _hidden = tracing::info_span!(target: traces::TARGET, "hidden").entered();
            tracing::debug!("detail");
            tracing::warn!("trouble");
            lines.take()
        };
        let has = |told: &str, words: &[&str], count: usize| {
            assert_eq!(told.lines().count(), count, "{told}");
            assert!(!told.contains("hidden"), "{told}");
            words.iter().for_each(|word| assert!(told.contains(word), "{word} is not in {told}"));
        };
        has(&told(None), &["trouble"], 1);
        has(&told(Some("ostro_operator=debug")), &["detail", "trouble", "the log filter changes"], 3);
        has(&told(Some("a=b=c")), &["this is no log filter", "detail", "trouble"], 3);
        has(&told(Some("ostro_operator=error")), &["the log filter changes"], 1);
        has(&told(Some("")), &[], 0);
        std::fs::remove_file(file.path()).unwrap();
        has(&told(None), &[], 0);
        // As it was before.
        std::fs::write(file.path(), "ostro_operator=warn").unwrap();
        has(&told(None), &["trouble"], 1);
    }
}
