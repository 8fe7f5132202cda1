//! `cluster down`: ends all that `up` started and removes all that it made, whatever state it was left in.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cgroups::Cgroups;
use super::folders::Folders;
use super::node;
use super::place::MARK;
use super::progress::await_until;
use super::state::{Birth, Shape, State, kill_if};
use super::{NODES_MAX, network};

/// Killed processes are gone at once, unless the machine is under heavy load.
const END_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn down(folders: &Folders) -> Result<()> {
    let _lock = folders.lock()?;
    let was_there = folders.run.exists();
    let is_given = State::load(&folders.state()).is_ok_and(|state| state.is_some_and(|state| state.is_given));
    remove_all(folders)?;
    let said = match (was_there, is_given) {
        (true, true) => "another's cluster is let go: what was applied to it stays there",
        (true, false) => "the cluster is down",
        (false, _) => "no cluster was up",
    };
    eprintln!("{said}");
    Ok(())
}

/// Under the cluster's lock. Fine where there is nothing.
///
/// # Errors
/// Something cannot be ended or removed; the run's folder stays then, so that a further call finds it.
pub(super) fn remove_all(folders: &Folders) -> Result<()> {
    let namespace = network::namespace(&folders.name);
    let strays = Strays { mark: mark(&folders.run), network: network::path(&namespace) };
    ensure!(
        !strays.has(std::process::id()),
        "this is of the cluster itself: run it outside of `cluster exec`"
    );
    // Written down, or marked, or in the cluster's network.
    let state = State::load(&folders.state()).unwrap_or_else(|error| {
        eprintln!("{error:#}; going by what runs");
        None
    });
    for process in state.iter().flat_map(|state| state.processes.iter().rev()) {
        process.kill()?;
    }
    await_until("ending the cluster's processes", END_LIMIT, || {
        let is_left = strays.kill()? > 0;
        Ok(!is_left && state.iter().all(|state| state.processes.iter().all(|one| !one.is_running())))
    })?;
    network::delete(&namespace)?;
    let cgroups = Cgroups::read()?;
    for name in (Shape::Nodes { nodes: NODES_MAX }).node_names() {
        cgroups.remove(&node::group(&folders.name, &name))?;
    }
    remove_folder(&folders.run)
}

/// Processes that are the cluster's without being written down: `up` was killed in between, or `exec` left them.
struct Strays {
    /// As in a process's environment.
    mark: Vec<u8>,
    network: PathBuf,
}

impl Strays {
    /// Kills all and returns how many there were.
    fn kill(&self) -> Result<u32> {
        let mut killed = 0;
        for entry in std::fs::read_dir("/proc").context("cannot read /proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // The name also stands for what has ended and waits for its parent.
            if self.has(pid) && Birth::of(pid).is_some() {
                kill_if(pid, || self.has(pid))?;
                killed += 1;
            }
        }
        Ok(killed)
    }

    fn has(&self, pid: u32) -> bool {
        let process = Path::new("/proc").join(pid.to_string());
        // Of others' processes neither can be read.
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        let is_marked = environment.split(|byte| *byte == 0).any(|variable| variable == self.mark);
        let place = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let network = place(&self.network);
        is_marked || network.is_some() && place(&process.join("ns/net")) == network
    }
}

fn mark(run: &Path) -> Vec<u8> {
    format!("{MARK}={}", run.display()).into_bytes()
}

/// # Errors
/// Something is still mounted there: what a node sees is the machine's own root, which must not be removed.
fn remove_folder(folder: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    if let Some(mount) = mount_in(&mounts, folder) {
        bail!("{mount} is still mounted: unmount it, then run `cluster down` again");
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("cannot remove {}", folder.display())),
    }
}

/// The fifth field of a line of proc_pid_mountinfo(5) is where it is mounted.
fn mount_in<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.find(|point| Path::new(point).starts_with(folder))
}

#[cfg(test)]
mod tests;
