//! What a command tells while it works, on standard error: each step with the time since the start.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Times are since its making.
pub(super) struct Progress {
    start: Instant,
}

impl Progress {
    pub(super) fn start() -> Progress {
        Progress { start: Instant::now() }
    }

    /// Tells of a step that is done.
    pub(super) fn done(&self, what: &str) {
        eprintln!("{:>7.1} s  {what}", self.start.elapsed().as_secs_f32());
    }
}

/// Asks until the answer is yes.
///
/// # Errors
/// That of `is_done`, or the time is over.
pub(super) fn await_until(
    what: &str,
    limit: Duration,
    mut is_done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !is_done()? {
        if start.elapsed() > limit {
            bail!("{what}: not within {}", text(limit));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A line that counts on a terminal; elsewhere a line now and then.
pub(super) struct Spinner {
    bar: ProgressBar,
    start: Instant,
    told: std::cell::Cell<Instant>,
}

/// Where standard error is not a terminal.
const TELL_EVERY: Duration = Duration::from_secs(30);

impl Spinner {
    pub(super) fn start(what: String) -> Spinner {
        let style =
            ProgressStyle::with_template("{spinner} {msg}, {elapsed}").expect("the template is constant");
        let bar = ProgressBar::new_spinner().with_style(style).with_message(what.clone());
        bar.enable_steady_tick(Duration::from_millis(200));
        if bar.is_hidden() {
            eprintln!("{what}");
        }
        Spinner { bar, start: Instant::now(), told: std::cell::Cell::new(Instant::now()) }
    }

    pub(super) fn tell(&self, what: String) {
        if self.bar.is_hidden() && self.told.get().elapsed() > TELL_EVERY {
            eprintln!("{what}, {}", text(self.start.elapsed()));
            self.told.set(Instant::now());
        }
        self.bar.set_message(what);
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// `4 min 20 s`, `12.3 s`.
pub(super) fn text(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f32()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// The name of a log and its last lines, for an error's message.
pub(super) fn end_of(log: &Path) -> String {
    const LINES: usize = 8;
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("its log is {}, which ends:\n  {}", log.display(), last.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(text(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(text(Duration::from_secs(260)), "4 min 20 s");
    }

    #[test]
    fn an_error_shows_the_end_of_the_log() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let told = end_of(file.path());
        assert!(told.contains(&file.path().display().to_string()), "{told}");
        assert!(told.ends_with("line 19") && told.contains("line 12") && !told.contains("line 11"), "{told}");
        assert!(end_of(Path::new("/no/such.log")).contains("/no/such.log"));
    }

    #[test]
    fn waiting_ends_with_an_answer_or_its_limit() {
        let mut asked = 0;
        await_until("three", Duration::from_secs(5), || {
            asked += 1;
            Ok(asked == 3)
        })
        .unwrap();
        let error = await_until("never", Duration::ZERO, || Ok(false)).unwrap_err().to_string();
        assert!(error.starts_with("never"), "{error}");
        assert!(await_until("broken", Duration::from_secs(5), || bail!("broken")).is_err());
    }
}
