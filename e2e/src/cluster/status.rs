//! `cluster status`: what runs, since when, with which logs, and how the nodes are.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};

use super::folders::Folders;
use super::place::Place;
use super::progress;
use super::state::{Process, State};

/// # Errors
/// No cluster is up, a program of it has ended, or `out` takes no more.
pub(super) fn status(folders: &Folders, out: &mut impl Write) -> Result<()> {
    let Some(state) = State::load(&folders.state())? else { bail!("no cluster is up") };
    writeln!(
        out,
        "{}, up for {}",
        state.describe(),
        progress::text(Duration::from_secs(state.age_seconds()))
    )?;
    writeln!(out, "kubeconfig {}", folders.kubeconfig().display())?;
    for process in &state.processes {
        writeln!(out, "{}", line(process, process.is_running()))?;
    }
    if let Some(ended) = state.ended() {
        bail!("{} has ended; {}", ended.name, progress::end_of(&ended.log));
    }
    if !state.ready {
        bail!("`cluster up` is at work, or was killed: then `cluster down` cleans up");
    }
    match Place::new(folders, state.shape).ask(&["get", "nodes", "--output", "wide"])? {
        Some(nodes) => write!(out, "{nodes}")?,
        None => {
            bail!("the API server does not answer; its log is {}", folders.log("kube-apiserver").display())
        }
    }
    Ok(())
}

fn line(process: &Process, is_running: bool) -> String {
    let state = if is_running { "running" } else { "ended" };
    format!("{:<24} {:>7} {state:<8} {}", process.name, process.pid, process.log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_cluster_there_is_no_status() {
        let root = tempfile::TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        let folders = Folders { name: "t".parse().unwrap(), root: at(""), run: at("run"), logs: at("logs") };
        assert_eq!(status(&folders, &mut Vec::new()).unwrap_err().to_string(), "no cluster is up");
    }

    #[test]
    fn a_line_names_process_and_log() {
        let process = Process::of("etcd", std::process::id(), "/logs/etcd.log".into()).unwrap();
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let pid = std::process::id().to_string();
        assert_eq!(words(line(&process, true)), ["etcd", &pid, "running", "/logs/etcd.log"]);
    }
}
