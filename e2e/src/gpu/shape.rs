//! A model of a real size with random weights: written, measured by Ostro and perhaps a peer, removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::packed::Packed;
use super::rates::{self, Rate};
use super::table::{Done, Table};
use crate::interrupt::{AtSignal, at_signal};
use crate::process::output_within;

/// What the rows of all shapes have in common.
pub(super) struct Setting<'a> {
    pub(super) packed: &'a Packed,
    /// A `llama-bench` with its CUDA backend.
    pub(super) peer: Option<&'a Path>,
    pub(super) limit: Duration,
}

/// Of `ostro bench`: more sequences and prompts than a server runs and keeps unasked.
const BENCH: [&str; 11] = [
    "--json",
    "--prompt-len",
    "512,2048,8192",
    "--depth",
    "0,4096",
    "--concurrency",
    "1,8,64",
    "--max-seqs",
    "64",
    "--prefix-cache-n",
    "64",
];

const PEER: [&str; 10] = ["-ngl", "99", "-fa", "1", "-p", "512,2048,8192", "-n", "128", "-o", "json"];

/// # Errors
/// The table cannot be written; a failure is a row.
pub(super) fn check(table: &mut Table, setting: &Setting<'_>, shape: &str) -> Result<()> {
    let mut model = None;
    table.step(format!("{shape}: write random weights"), || {
        let written = Model::write(setting, shape)?;
        let bytes = written.file.metadata()?.len();
        let text = format!("{:.1} GB in {}", bytes as f64 / 1e9, written.folder.path().display());
        model = Some(written);
        Ok(Done::Passed(text))
    })?;
    let Some(model) = model else { return Ok(()) };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    table.step(format!("{shape}: ostro bench"), || {
        let mut command = Command::new(setting.packed.program("ostro"));
        command.arg("bench").arg("-m").arg(&model.file).args(BENCH);
        ours = rates::of_ostro(&output_within(&mut command, setting.limit)?.output)?;
        Ok(measured(&ours))
    })?;
    table.step(format!("{shape}: mixed load"), || {
        let mut command = Command::new(setting.packed.program("mixed_load"));
        let ended = output_within(command.arg(&model.file), setting.limit)?;
        Ok(Done::Passed(rates::of_mixed_load(&ended.output)?))
    })?;
    if let Some(peer) = setting.peer {
        table.step(format!("{shape}: llama-bench"), || {
            let mut command = Command::new(peer);
            command.arg("-m").arg(&model.file).args(PEER);
            theirs = rates::of_llama_bench(&output_within(&mut command, setting.limit)?.output)?;
            Ok(measured(&theirs))
        })?;
    }
    for rate in ours {
        table.measured(format!("{shape}: {}", rate.work), rate.beside(&theirs))?;
    }
    Ok(())
}

fn measured(rates: &[Rate]) -> Done {
    Done::Passed(format!("{} rates", rates.len()))
}

/// Removed with its folder when it is dropped, or where a signal ends this program: it may be gigabytes of memory.
struct Model {
    folder: TempDir,
    file: PathBuf,
    _at_signal: AtSignal,
}

impl Model {
    /// In memory where that has room, since a disk would be what is measured of the loading.
    fn write(setting: &Setting<'_>, shape: &str) -> Result<Model> {
        let in_folder = |parent: &Path| {
            let folder = TempDir::new_in(parent).with_context(|| format!("no {}", parent.display()))?;
            let mut remove = Command::new("rm");
            remove.arg("-rf").arg(folder.path());
            let at_signal = at_signal(remove)?;
            let file = folder.path().join(format!("{shape}.gguf"));
            let mut command = Command::new(setting.packed.program("random_model"));
            output_within(command.arg(shape).arg(&file), setting.limit)?;
            Ok(Model { folder, file, _at_signal: at_signal })
        };
        in_folder(Path::new("/dev/shm")).or_else(|error: anyhow::Error| {
            eprintln!("{error:#}; trying the temporary folder");
            in_folder(&std::env::temp_dir())
        })
    }
}
