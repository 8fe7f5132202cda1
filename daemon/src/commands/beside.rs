//! A runtime beside the thread of a command that does its work there, and ends when it is told to: what is done in part is
//! gone on with by the next one. Without this a container's first process would hear nothing.

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// As a program ends that Ctrl-C stopped.
const INTERRUPTED: i32 = 130;

pub(super) fn start() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start")?;
    let inside = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    drop(inside);
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(INTERRUPTED)
    });
    Ok(runtime)
}
