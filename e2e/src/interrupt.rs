//! What must be gone also where a signal ends this program, which drops nothing then.
//!
//! The program becomes a shell that removes it: no thread makes more of it meanwhile.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

struct State {
    is_watching: bool,
    /// By numbers that grow.
    last: BTreeMap<u64, Command>,
}

static STATE: Mutex<State> = Mutex::new(State { is_watching: false, last: BTreeMap::new() });

/// Once it is dropped, nothing is left to be removed.
pub struct AtSignal(u64);

/// `last` is run at SIGINT, SIGTERM or SIGHUP, with its arguments alone, and after those of before.
///
/// # Errors
/// The system has no threads or descriptors left.
pub fn at_signal(last: Command) -> Result<AtSignal> {
    let mut state = state();
    if !state.is_watching {
        watch().context("cannot wait for signals")?;
        state.is_watching = true;
    }
    let number = state.last.last_key_value().map_or(0, |(number, _)| number + 1);
    state.last.insert(number, last);
    Ok(AtSignal(number))
}

impl Drop for AtSignal {
    fn drop(&mut self) {
        state().last.remove(&self.0);
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
    let state = state();
    if !state.last.is_empty() {
        let error = Command::new("sh").arg("-c").arg(script(state.last.values())).exec();
        eprintln!("cannot start sh: {error}");
    }
    std::process::exit(130);
}

fn script<'a>(commands: impl Iterator<Item = &'a Command>) -> OsString {
    // A terminal that goes may send SIGHUP twice.
    let mut script = b"trap '' HUP\n".to_vec();
    for command in commands {
        for word in std::iter::once(command.get_program()).chain(command.get_args()) {
            let parts: Vec<&[u8]> = word.as_bytes().split(|byte| *byte == b'\'').collect();
            script.push(b'\'');
            script.extend(parts.join(&br"'\''"[..]));
            script.extend(b"' ");
        }
        script.push(b'\n');
    }
    script.extend(b"exit 130");
    OsString::from_vec(script)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    const FOLDER: &str = "OSTRO_TEST_INTERRUPT";
    const NAMES: [&str; 2] = ["one", "it's another"];
    const KEPT: &str = "kept";

    /// In a process of its own.
    #[test]
    fn a_signal_leaves_nothing() {
        if let Some(folder) = std::env::var_os(FOLDER) {
            let remove = |name: &str| {
                let mut remove = Command::new("rm");
                remove.arg("-r").arg(Path::new(&folder).join(name));
                at_signal(remove).unwrap()
            };
            let _at_signal = NAMES.map(remove);
            drop(remove(KEPT));
            Command::new("kill").arg(std::process::id().to_string()).status().unwrap();
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES.iter().chain([&KEPT]) {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "interrupt::tests::a_signal_leaves_nothing"]).env(FOLDER, folder.path());
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{ended:?}");
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), [KEPT], "{ended:?}");
    }
}
