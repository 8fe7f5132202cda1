//! What `up` has started, on disk before it goes on, so that any later command finds it again.
//!
//! A process is known by its number and the moment it began: a number that the kernel has given to
//! another program since is never signalled.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Of a cluster's file `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) shape: Shape,
    pub(super) created_seconds: u64,
    /// Whether `up` came to its end.
    pub(super) ready: bool,
    pub(super) processes: Vec<Process>,
    /// Another's cluster by its kubeconfig: nothing of it was started here.
    #[serde(default)]
    pub(super) is_given: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// Processes on loopback; nodes and pods are simulated.
    ControlPlane { nodes: u8 },
    /// Nodes that run containers, in a network namespace of their own.
    Nodes { nodes: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) birth: Birth,
    pub(super) log: PathBuf,
}

/// The boot, and the clock ticks since it at which a process began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Birth {
    boot: String,
    ticks: u64,
}

impl State {
    pub(super) fn new(shape: Shape) -> State {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_seconds = created.as_secs();
        State { shape, created_seconds, ready: false, processes: Vec::new(), is_given: false }
    }

    pub(super) fn given() -> State {
        State { ready: true, is_given: true, ..State::new(Shape::ControlPlane { nodes: 0 }) }
    }

    pub(super) fn describe(&self) -> String {
        if self.is_given { "another's cluster".to_owned() } else { self.shape.to_string() }
    }

    /// `None`: there is no such file.
    pub(super) fn load(path: &Path) -> Result<Option<State>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let state = serde_json::from_slice(&text);
        Ok(Some(state.with_context(|| format!("{} is not a cluster's state", path.display()))?))
    }

    /// By renaming, so that a reader never sees half of it.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        let write = || -> Result<()> {
            std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
            Ok(std::fs::rename(&new, path)?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn age_seconds(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        now.saturating_sub(self.created_seconds)
    }

    pub(super) fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }

    /// The first that has ended.
    pub(super) fn ended(&self) -> Option<&Process> {
        self.processes.iter().find(|process| !process.is_running())
    }
}

impl Shape {
    pub(super) fn nodes(self) -> u8 {
        match self {
            Shape::ControlPlane { nodes } | Shape::Nodes { nodes } => nodes,
        }
    }

    /// `node1`, `node2`, …
    pub(super) fn node_names(self) -> impl Iterator<Item = String> {
        (1..=self.nodes()).map(|index| format!("node{index}"))
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = match self.nodes() {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        };
        match self {
            Shape::ControlPlane { .. } => write!(f, "control plane, {nodes} simulated"),
            Shape::Nodes { .. } => write!(f, "control plane and {nodes}"),
        }
    }
}

impl Process {
    /// `None`: no such process runs.
    pub(super) fn of(name: &str, pid: u32, log: PathBuf) -> Option<Process> {
        Some(Process { name: name.to_owned(), pid, birth: Birth::of(pid)?, log })
    }

    pub(super) fn is_running(&self) -> bool {
        Birth::of(self.pid).as_ref() == Some(&self.birth)
    }

    /// Sends SIGKILL; fine where it has ended.
    pub(super) fn kill(&self) -> Result<()> {
        kill_if(self.pid, || self.is_running()).with_context(|| format!("cannot end {}", self.name))
    }
}

/// Sends SIGKILL to the process if `is_ours` says so while the number cannot go to another one.
pub(super) fn kill_if(pid: u32, is_ours: impl FnOnce() -> bool) -> Result<()> {
    use rustix::io::Errno;
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    // The descriptor stands for one process for ever: what is true after opening it is true of it.
    let handle = match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        handle => handle.with_context(|| format!("process {pid}"))?,
    };
    if !is_ours() {
        return Ok(());
    }
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("process {pid}")),
    }
}

impl Birth {
    /// `None`: no such process, or one that has ended and only waits for its parent.
    pub(super) fn of(pid: u32) -> Option<Birth> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Birth { boot: boot.trim().to_owned(), ticks: ticks_of(&stat)? })
    }
}

/// The field `starttime` of proc(5); the name before it may hold spaces and parentheses.
fn ticks_of(stat: &str) -> Option<u64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let has_ended = matches!(*fields.first()?, "Z" | "X" | "x");
    if has_ended { None } else { fields.get(19)?.parse().ok() }
}

#[cfg(test)]
mod tests;
