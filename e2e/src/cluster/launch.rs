//! Starts programs that outlive this one, each with a log, and writes each down before the next.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::control_plane::Start;
use super::place::{MARK, Place};
use super::progress;
use super::state::{Process, State};

pub(super) struct Launcher {
    pub(super) place: Place,
    pub(super) state: State,
}

impl Launcher {
    /// Starts one of the cluster's programs in its network.
    pub(super) fn start(&mut self, (name, arguments): Start) -> Result<()> {
        let mut command = self.place.command(name)?;
        command.args(arguments);
        self.start_outside(name, command)
    }

    /// Starts a program as it is given, in a session of its own, so that a terminal's signals do not reach it.
    pub(super) fn start_outside(&mut self, name: &str, inner: Command) -> Result<()> {
        let log = self.place.folders.log(name);
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("setsid");
        command.arg(inner.get_program()).args(inner.get_args());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.env(MARK, &self.place.folders.run).current_dir("/").stdin(Stdio::null());
        let child = command.stdout(file.try_clone()?).stderr(file).spawn().context("cannot start setsid")?;
        // setsid, ip and unshare become what they run: the number stays.
        self.adopt(name, child.id(), log)
    }

    /// Writes a running process down.
    pub(super) fn adopt(&mut self, name: &str, pid: u32, log: PathBuf) -> Result<()> {
        match Process::of(name, pid, log.clone()) {
            Some(process) => self.state.processes.push(process),
            None => bail!("{name} ended at once; {}", progress::end_of(&log)),
        }
        self.save()
    }

    pub(super) fn save(&self) -> Result<()> {
        self.state.save(&self.place.folders.state())
    }

    /// # Errors
    /// A program has ended: the message shows the end of its log.
    pub(super) fn check(&self) -> Result<()> {
        match self.state.ended() {
            Some(process) => bail!("{} has ended; {}", process.name, progress::end_of(&process.log)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::folders::Folders;
    use crate::cluster::progress::await_until;
    use crate::cluster::state::Shape;
    use std::time::Duration;

    #[test]
    fn a_program_that_ends_is_told_with_its_log() {
        let root = tempfile::TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        let folders = Folders { name: "t".parse().unwrap(), root: at(""), run: at("run"), logs: at("logs") };
        std::fs::create_dir_all(&folders.run).unwrap();
        std::fs::create_dir_all(&folders.logs).unwrap();
        let shape = Shape::ControlPlane { nodes: 1 };
        let mut launcher = Launcher { place: Place::new(&folders, shape), state: State::new(shape) };
        let mut command = Command::new("sh");
        command.args(["-c", "echo \"$OSTRO_CLUSTER_RUN\"; read line < \"$GATE\"; echo no disk >&2; exit 3"]);
        let gate = at("gate");
        assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
        command.env("GATE", &gate);
        launcher.start_outside("etcd", command).unwrap();
        launcher.check().unwrap();
        assert_eq!(State::load(&folders.state()).unwrap(), Some(launcher.state.clone()));
        std::fs::write(&gate, "go\n").unwrap();
        let mut told = None;
        await_until("its end", Duration::from_secs(10), || {
            told = launcher.check().err();
            Ok(told.is_some())
        })
        .unwrap();
        let told = told.unwrap().to_string();
        assert!(
            told.starts_with("etcd has ended") && told.contains("etcd.log") && told.contains("no disk"),
            "{told}"
        );
        // What it starts can be found by its mark.
        assert!(told.contains(&folders.run.display().to_string()), "{told}");
    }
}
