//! A control plane with simulated nodes for a program that needs one for a while.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::Result;

use super::folders::{Folders, Name};
use super::place::{MARK, Place};
use super::requirements::Missing;
use super::state::Shape;
use super::{down, up};
use crate::interrupt::{AtSignal, at_signal};

/// Goes when it is dropped, and where a signal ends this program, which must be `ostro-e2e`.
pub struct Simulated {
    place: Place,
    _at_signal: AtSignal,
}

impl Simulated {
    /// Starts anew, also where a killed run has left one of this name.
    ///
    /// # Errors
    /// As of `cluster up --control-plane-only`.
    pub fn up(name: &Name, nodes: u8) -> Result<Simulated> {
        let folders = Folders::new(name)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["cluster", "--name", &name.to_string(), "down"]);
        let at_signal = at_signal(command)?;
        let shape = Shape::ControlPlane { nodes };
        down::down(&folders)?;
        up::up(&folders, shape, Missing::Tell)?;
        Ok(Simulated { place: Place::new(&folders, shape), _at_signal: at_signal })
    }

    /// With the cluster's programs first on PATH and KUBECONFIG set; what it starts ends with the cluster.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = self.place.command(program)?;
        command.env(MARK, &self.place.folders.run);
        Ok(command)
    }

    /// `kubectl apply` of a document.
    pub fn apply(&self, document: &str) -> Result<()> {
        self.place.apply(document)
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if let Err(error) = down::down(&self.place.folders) {
            eprintln!("the cluster {} cannot be taken down: {error:#}", self.place.folders.name);
        }
    }
}
