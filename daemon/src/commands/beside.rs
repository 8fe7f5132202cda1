//! A runtime beside the thread of a command that does its work there, and ends when it is told to: what is done in part is
//! gone on with by the next one. Without this a container's first process would hear nothing.

use anyhow::Context;
use tokio::runtime::Runtime;

use super::stop::Stop;

/// As a program ends that Ctrl-C stopped.
const INTERRUPTED: i32 = 130;

pub(super) fn start() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start")?;
    let inside = runtime.enter();
    let mut signals = Stop::listen()?;
    drop(inside);
    runtime.spawn(async move {
        signals.told().await;
        crate::logging::flush();
        std::process::exit(INTERRUPTED)
    });
    Ok(runtime)
}
