//! `cluster up --kubeconfig`: another cluster in the place of one that is started here. Nothing of it is ended by `down`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use super::folders::Folders;
use super::modules::CONTROL_PLANE;
use super::place::Place;
use super::state::State;
use super::{build, down, kubeconfig};

/// # Errors
/// A cluster is up already, the file is no kubeconfig, or its API server does not answer.
pub(super) fn up(folders: &Folders, file: &Path) -> Result<()> {
    let _lock = folders.lock()?;
    if let Some(state) = State::load(&folders.state())?
        && !state.is_given
    {
        let other = state.describe();
        bail!("another cluster is up ({other}): run `cluster down` first, or give this one a --name");
    }
    build::ensure(folders, &CONTROL_PLANE)?;
    down::remove_all(folders)?;
    std::fs::create_dir_all(&folders.run)
        .with_context(|| format!("cannot create {}", folders.run.display()))?;
    if let Err(error) = take(folders, file) {
        down::remove_all(folders)?;
        return Err(error);
    }
    State::given().save(&folders.state())
}

/// With all that it refers to, since its owner may move it.
fn take(folders: &Folders, file: &Path) -> Result<()> {
    ensure!(file.is_file(), "{} is not a file", file.display());
    let place = Place::new(folders, State::given().shape);
    let mut command =
        place.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "--output", "json"])?;
    let output = command.env("KUBECONFIG", file).stderr(Stdio::piped()).output();
    let output = output.context("cannot start kubectl")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", file.display(), told.trim());
    let config = serde_json::from_slice(&output.stdout).context("kubectl prints JSON")?;
    kubeconfig::write(&folders.kubeconfig(), &config)?;
    let ready = place.kubectl(&["get", "--raw", "/readyz", "--request-timeout=10s"])?.output()?;
    let told = String::from_utf8_lossy(&ready.stderr);
    ensure!(ready.status.success(), "the API server of {} is not ready: {}", file.display(), told.trim());
    Ok(())
}
