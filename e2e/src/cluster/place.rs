//! Where a cluster's programs run: in its network namespace, or on this machine's loopback.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use super::folders::Folders;
use super::network;
use super::state::Shape;

/// Marks what `up` starts and `exec` runs, so that also what was not written down can be found; its value is the run's folder.
pub(super) const MARK: &str = "OSTRO_CLUSTER_RUN";

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) folders: Folders,
    /// `None`: loopback.
    pub(super) namespace: Option<String>,
}

impl Place {
    pub(super) fn new(folders: &Folders, shape: Shape) -> Place {
        let namespace = match shape {
            Shape::ControlPlane { .. } => None,
            Shape::Nodes { .. } => Some(network::namespace(&folders.name)),
        };
        Place { folders: folders.clone(), namespace }
    }

    /// A command in the cluster's network, with its programs first on PATH and KUBECONFIG set.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
            // Found on the PATH that is set below.
            None => Command::new(program),
        };
        command.env("KUBECONFIG", self.folders.kubeconfig()).env("PATH", self.path()?);
        // Else kubectl and Helm keep what they learn of each cluster in the user's home.
        command.env("KUBECACHEDIR", self.folders.run.join("kubectl"));
        Ok(command)
    }

    /// The cluster's programs come before others of the same name.
    fn path(&self) -> Result<std::ffi::OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths([self.folders.bin()].into_iter().chain(std::env::split_paths(&path)))
            .context("the cache folder's name cannot be on PATH")
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.command("kubectl")?;
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// What `kubectl` prints; `None` when it fails, as it does while the API server starts.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Option<String>> {
        let output = self.kubectl(arguments)?.output().context("cannot start kubectl")?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// `kubectl apply` of a document.
    pub(super) fn apply(&self, document: &str) -> Result<()> {
        let mut command = self.kubectl(&["apply", "--filename", "-"])?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("standard input is piped")?.write_all(document.as_bytes())?;
        let Output { status, stderr, .. } = child.wait_with_output()?;
        ensure!(status.success(), "kubectl apply failed: {}", String::from_utf8_lossy(&stderr).trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(shape: Shape) -> Place {
        Place::new(&Folders::new(&"test".parse().unwrap()).unwrap(), shape)
    }

    fn words(command: &Command) -> Vec<String> {
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn commands_run_where_the_cluster_is() {
        let command = place(Shape::Nodes { nodes: 1 }).command("env").unwrap();
        assert_eq!(words(&command), ["ip", "netns", "exec", "ostro-test", "env"]);
        let command = place(Shape::ControlPlane { nodes: 1 }).command("env").unwrap();
        assert_eq!(words(&command), ["env"]);
    }

    #[test]
    fn the_clusters_programs_come_first() {
        let place = place(Shape::ControlPlane { nodes: 1 });
        let command = place.command("env").unwrap();
        let value = |name| command.get_envs().find(|(key, _)| *key == name).unwrap().1.unwrap().to_owned();
        let first = std::env::split_paths(&value("PATH")).next().unwrap();
        assert_eq!(first, place.folders.bin());
        assert_eq!(value("KUBECONFIG"), place.folders.kubeconfig());
    }
}
