//! `cluster load`: gives images to every node's containerd, where the kubelet looks for them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::folders::Folders;
use super::node;
use super::progress::Progress;
use super::state::{Shape, State};
use crate::image::Architecture;

/// # Errors
/// No node is up, a file cannot be read, or it is no image archive.
pub(super) fn load(folders: &Folders, files: &[PathBuf]) -> Result<()> {
    let Some(state) = State::load(&folders.state())? else { bail!("no cluster is up") };
    if state.is_given {
        bail!("another's cluster takes images by its own means, such as `kind load image-archive`");
    }
    let Shape::Nodes { .. } = state.shape else {
        bail!("simulated nodes run no containers: any image name does")
    };
    let progress = Progress::start();
    for name in state.shape.node_names() {
        let init = node::init_name(&name);
        let init = state.process(&init).filter(|process| process.is_running());
        let pid = init.with_context(|| format!("{name} does not run; see `cluster status`"))?.pid;
        for file in files {
            import(folders, pid, file).with_context(|| format!("loading {} on {name}", file.display()))?;
            progress.done(&format!("{} on {name}", file.display()));
        }
    }
    Ok(())
}

/// By standard input: a node does not see all of the machine's files.
fn import(folders: &Folders, pid: u32, file: &Path) -> Result<()> {
    let input = File::open(file)?;
    let output = Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--mount", "--"])
        .arg(folders.bin().join("ctr"))
        .args(["--namespace", "k8s.io", "images", "import", "-"])
        .stdin(Stdio::from(input))
        .output()
        .context("cannot start nsenter")?;
    let words = String::from_utf8_lossy(&output.stderr);
    if words.contains("might be filtered out") {
        bail!("it has no image for {}, which the nodes are", Architecture::NATIVE.name());
    }
    ensure!(output.status.success(), "{}", words.trim());
    Ok(())
}
