//! Runs of the developer tool that would disturb each other: one of them waits, and says so.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ostro_e2e::process::Owned;

/// Does nothing else before: what it would do takes minutes, and some of it a network.
#[test]
fn what_another_run_does_is_waited_for() {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join("ostro");
    std::fs::create_dir_all(root.join("models")).unwrap();
    for (words, name) in [
        (&["quickstart"][..], "quickstart.lock"),
        (&["quickstart", "--stop"], "quickstart.lock"),
        (&["model", "fetch", "stories15m"], "models/stories15m.lock"),
        (&["bench", "peers", "--quick"], "peers.lock"),
    ] {
        let path = root.join(name);
        let lock = File::create(&path).unwrap();
        lock.lock().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ostro-e2e"));
        command.args(words).env("XDG_CACHE_HOME", cache.path()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut waiting = Owned::new(command.spawn().unwrap());
        let told = BufReader::new(waiting.stderr.take().unwrap()).lines().next().unwrap().unwrap();
        assert_eq!(
            told,
            format!("waiting for another ostro-e2e, which holds {}", path.display()),
            "{words:?}"
        );
    }
}
