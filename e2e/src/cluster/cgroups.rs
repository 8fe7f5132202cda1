//! A control group for each node, by which the kubelet and containerd limit its containers.
//!
//! The machine's groups stay as they are: a node gets one child group (in each hierarchy, where there are many), and
//! sees it as the root.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::progress::await_until;

const ROOT: &str = "/sys/fs/cgroup";

/// What the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// Hierarchies by their mount options, such as `pids`, `cpu,cpuacct`, `name=systemd`.
    V1(Vec<String>),
    /// One hierarchy for all.
    V2,
}

impl Cgroups {
    pub(super) fn read() -> Result<Cgroups> {
        let text = std::fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
        Ok(match parse(&text) {
            // What is not mounted cannot be given to a node.
            Cgroups::V1(all) => Cgroups::V1(all.into_iter().filter(|one| folder(one).is_dir()).collect()),
            Cgroups::V2 => Cgroups::V2,
        })
    }

    /// For `node.sh`: mount options, or `v2`.
    pub(super) fn for_script(&self) -> String {
        match self {
            Cgroups::V1(all) => all.join(" "),
            Cgroups::V2 => "v2".to_owned(),
        }
    }

    /// The group's folders, one a hierarchy.
    fn folders(&self, group: &str) -> Vec<PathBuf> {
        match self {
            Cgroups::V1(all) => all.iter().map(|one| folder(one).join(group)).collect(),
            Cgroups::V2 => vec![Path::new(ROOT).join(group)],
        }
    }

    /// Makes the group and returns its folders.
    pub(super) fn create(&self, group: &str) -> Result<Vec<PathBuf>> {
        let folders = self.folders(group);
        ensure!(!folders.is_empty(), "the machine has no control groups in {ROOT}");
        for folder in &folders {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            if let Cgroups::V1(_) = self {
                inherit_processors(folder)?;
            }
        }
        Ok(folders)
    }

    /// Removes the group with all in it. Its processes have been killed; the kernel may take a moment.
    pub(super) fn remove(&self, group: &str) -> Result<()> {
        for folder in self.folders(group) {
            let what = format!("removing {}", folder.display());
            await_until(&what, Duration::from_secs(10), || match remove_tree(&folder) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(false),
                Err(error) => Err(error).with_context(|| what.clone()),
            })?;
        }
        Ok(())
    }
}

/// A new group of the hierarchy `cpuset` has no processors, and takes no process until it has.
fn inherit_processors(folder: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (folder.with_file_name(file), folder.join(file));
        if from.is_file() {
            let copy = || std::fs::write(&to, std::fs::read(&from)?);
            copy().with_context(|| format!("cannot set {}", to.display()))?;
        }
    }
    Ok(())
}

/// A group's files go with it; only folders can and must be removed.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

/// Where a version 1 hierarchy is mounted.
fn folder(hierarchy: &str) -> PathBuf {
    Path::new(ROOT).join(hierarchy.trim_start_matches("name="))
}

/// Lines are `ID:HIERARCHY:PATH`; version 2 has an empty hierarchy, also where version 1 does the work.
fn parse(text: &str) -> Cgroups {
    let names = text.lines().filter_map(|line| line.split(':').nth(1)).filter(|name| !name.is_empty());
    let mut all: Vec<_> = names.map(str::to_owned).collect();
    all.sort_unstable();
    if all.iter().any(|name| !name.starts_with("name=")) { Cgroups::V1(all) } else { Cgroups::V2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_hierarchies_are_told_apart() {
        let hybrid = "9:name=systemd:/\n8:pids:/\n2:cpu,cpuacct:/a:b\n0::/\n";
        let expected = Cgroups::V1(["cpu,cpuacct", "name=systemd", "pids"].map(str::to_owned).to_vec());
        assert_eq!(parse(hybrid), expected);
        assert_eq!(expected.for_script(), "cpu,cpuacct name=systemd pids");
        assert_eq!(
            expected.folders("ostro-e2e-node1")[1],
            Path::new("/sys/fs/cgroup/systemd/ostro-e2e-node1")
        );
        for v2 in ["0::/user.slice\n", "1:name=systemd:/\n0::/\n"] {
            assert_eq!(parse(v2), Cgroups::V2);
        }
    }

    #[test]
    fn a_tree_is_removed_from_its_leaves() {
        let folder = tempfile::TempDir::new().unwrap();
        let group = folder.path().join("group");
        std::fs::create_dir_all(group.join("pods/one")).unwrap();
        remove_tree(&group).unwrap();
        assert!(!group.exists());
        remove_tree(&group).unwrap();
    }
}
