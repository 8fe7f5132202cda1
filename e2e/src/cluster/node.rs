//! Starts a node: `node.sh` in namespaces of its own, then its link to the cluster's network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cgroups::Cgroups;
use super::control_plane::SERVICES;
use super::folders::{Folders, Name};
use super::launch::Launcher;
use super::network::{self, GATEWAY};
use super::node_files::Node;
use super::progress::{self, await_until};

/// The name in the state of a node's first process: all others end with it.
pub(super) fn init_name(node: &str) -> String {
    format!("{node}-init")
}

/// The node's control group.
pub(super) fn group(cluster: &Name, node: &str) -> String {
    format!("ostro-{cluster}-{node}")
}

/// Starts the node with this number, which then imports `archives` and joins the cluster by itself.
///
/// # Errors
/// A namespace, group or link cannot be made.
pub(super) fn start(launcher: &mut Launcher, index: u8, archives: &[PathBuf]) -> Result<()> {
    let folders = launcher.place.folders.clone();
    let certificates = folders.certificates();
    let name = format!("node{index}");
    let folder = folders.node(&name);
    let node = Node { index, folder: &folder, certificates: &certificates };
    node.write()?;
    let cgroups = Cgroups::read()?;
    let groups = cgroups.create(&group(&folders.name, &name))?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
        ])
        .arg("bash")
        .arg(folder.join("node.sh"))
        .arg("join")
        .env("HIERARCHIES", cgroups.for_script())
        .env("NODE_GROUPS", joined(&groups))
        .env("ARCHIVES", joined(archives))
        .envs(environment(&folders, &node));
    launcher.start_outside(&name, command)?;
    let pid = first_process(launcher, &name, &folder.join("pid"))?;
    launcher.adopt(&init_name(&name), pid, folders.log(&name))?;
    let namespace = launcher.place.namespace.clone().context("nodes have a namespace")?;
    network::attach(&namespace, index, pid)
}

fn environment(folders: &Folders, node: &Node<'_>) -> Vec<(&'static str, OsString)> {
    let config = |identity: &str| node.certificates.join(format!("{identity}.conf"));
    vec![
        ("NODE", node.name().into()),
        ("ADDRESS", network::address(node.index).to_string().into()),
        ("GATEWAY", GATEWAY.to_string().into()),
        ("FOLDER", node.folder.into()),
        ("CLUSTER", folders.root.clone().into()),
        ("BIN", folders.bin().into()),
        ("LOGS", folders.logs.clone().into()),
        ("KUBELET_CONFIG", config(&node.name()).into()),
        ("FIREWALL_CONFIG", config("firewall").into()),
        ("SERVICES", SERVICES.into()),
    ]
}

/// For the shell's word splitting; the cache folder has no spaces in its name, `up` sees to that.
fn joined(paths: &[PathBuf]) -> OsString {
    paths.iter().map(|path| path.as_os_str()).collect::<Vec<_>>().join(" ".as_ref())
}

/// The number that `node.sh` writes once its namespaces are made.
fn first_process(launcher: &Launcher, node: &str, file: &Path) -> Result<u32> {
    let mut pid = None;
    await_until(&format!("{node}'s namespaces"), Duration::from_secs(10), || {
        launcher.check()?;
        pid = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
        Ok(pid.is_some())
    })?;
    match pid {
        Some(pid) => Ok(pid),
        None => bail!("{node} has no process; {}", progress::end_of(&launcher.place.folders.log(node))),
    }
}
