//! What must be gone also where a signal ends this program, which drops nothing then.
//!
//! The program becomes the command that removes it: no thread makes more of it meanwhile.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

struct State {
    is_watching: bool,
    last: Option<Command>,
}

static STATE: Mutex<State> = Mutex::new(State { is_watching: false, last: None });

/// Once it is dropped, nothing is left to be removed.
pub(crate) struct AtSignal(());

/// `last` is run at SIGINT, SIGTERM or SIGHUP, with its arguments alone; there is one at a time.
///
/// # Errors
/// The system has no threads or descriptors left.
pub(crate) fn at_signal(last: Command) -> Result<AtSignal> {
    let mut state = state();
    if !state.is_watching {
        watch().context("cannot wait for signals")?;
        state.is_watching = true;
    }
    state.last = Some(last);
    Ok(AtSignal(()))
}

impl Drop for AtSignal {
    fn drop(&mut self) {
        state().last = None;
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that are ignored stay so, as `nohup` wants it.
fn watch() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        if is_ignored(kind)? {
            continue;
        }
        let _context = runtime.enter();
        let mut signals = signal(kind)?;
        runtime.spawn(async move {
            signals.recv().await;
            end();
        });
    }
    std::thread::Builder::new().spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(())
}

fn is_ignored(kind: SignalKind) -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("no SigIgn")?;
    let ignored = u64::from_str_radix(ignored.trim(), 16)?;
    Ok((ignored >> (kind.as_raw_value() - 1)) & 1 == 1)
}

fn end() {
    // A terminal that goes may send SIGHUP twice.
    const SCRIPT: &str = "trap '' HUP; \"$@\"; exit 130";
    if let Some(last) = &state().last {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(last.get_program()).args(last.get_args());
        eprintln!("cannot start sh: {}", shell.exec());
    }
    std::process::exit(130);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FOLDER: &str = "OSTRO_TEST_INTERRUPT";

    /// In a process of its own.
    #[test]
    fn a_signal_leaves_nothing() {
        if let Some(folder) = std::env::var_os(FOLDER) {
            let mut remove = Command::new("rm");
            remove.arg("-r").arg(folder);
            let _at_signal = at_signal(remove).unwrap();
            Command::new("kill").arg(std::process::id().to_string()).status().unwrap();
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "interrupt::tests::a_signal_leaves_nothing"]).env(FOLDER, folder.path());
        let ended = command.output().unwrap();
        assert!(ended.status.code() == Some(130) && !folder.path().exists(), "{ended:?}");
    }
}
