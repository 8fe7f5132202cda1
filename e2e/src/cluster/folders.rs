//! Where everything of a cluster lies: all of it in the user's cache folder, nothing in the checkout.

use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;

use crate::cache;
use crate::lock::lock;

/// Part of file names, of the network namespace and of cgroups: 1 to 16 of a–z, 0–9 and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 16 || !text.chars().all(is_allowed) || text.starts_with('-') {
            return Err("a cluster's name is 1 to 16 of a-z, 0-9 and '-'".to_owned());
        }
        Ok(Name(text.to_owned()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folders of one cluster, and those that all clusters share.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    pub(super) name: Name,
    /// What clusters share, and above all else.
    pub(super) root: PathBuf,
    /// What `up` makes and `down` removes.
    pub(super) run: PathBuf,
    /// Logs of the last run: they outlive it, since they tell why it failed.
    pub(super) logs: PathBuf,
}

impl Folders {
    pub(super) fn new(name: &Name) -> Result<Folders> {
        let root = cache::root()?.join("cluster");
        Ok(Folders {
            name: name.clone(),
            run: root.join("run").join(&name.0),
            logs: root.join("logs").join(&name.0),
            root,
        })
    }

    /// Links to all programs, to be first on PATH.
    pub(super) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Programs by module, version and recipe.
    pub(super) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// Archives of the cluster's own images.
    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.run.join("certificates")
    }

    /// For who runs the cluster: all rights.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.run.join("kubeconfig")
    }

    /// What the simulator of nodes and pods says of them.
    pub(super) fn stages(&self) -> PathBuf {
        self.run.join("stages.yaml")
    }

    pub(super) fn node(&self, node: &str) -> PathBuf {
        self.run.join("nodes").join(node)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.run.join("state.json")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.logs.join(format!("{program}.log"))
    }

    /// Held while one command changes the cluster; let go by the kernel should the command be killed.
    pub(super) fn lock(&self) -> Result<File> {
        lock(&self.root.join(format!("{}.lock", self.name)))
    }

    /// Held while programs are built.
    pub(super) fn lock_programs(&self) -> Result<File> {
        lock(&self.root.join("programs.lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_folder() {
        for bad in ["", "..", "a/b", "-a", "A", "a b", "seventeen-letters"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for good in ["e2e", "test-up", "0"] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn a_run_is_apart_from_what_outlives_it() {
        let folders = Folders::new(&Name("a".to_owned())).unwrap();
        for inside in [folders.certificates(), folders.kubeconfig(), folders.node("n"), folders.state()] {
            assert!(inside.starts_with(&folders.run), "{}", inside.display());
        }
        for outside in [folders.bin(), folders.programs(), folders.images(), folders.log("x")] {
            assert!(!outside.starts_with(&folders.run), "{}", outside.display());
        }
    }
}
