//! `ostro-e2e gpu check`: all that tells whether Ostro works on this machine's GPU, and how fast.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::packed::{Packed, goldens_of_the_build};
use super::shape::{self, Setting};
use super::smi::Smi;
use super::table::{Done, Table};
use super::{doctor, metrics, tested};

#[derive(Args)]
pub struct Options {
    /// A folder that `gpu pack` wrote.
    folder: PathBuf,
    /// Models of random weights to measure, as random_model names them; an empty word measures none.
    #[arg(long, value_name = "SHAPE,SHAPE", value_delimiter = ',', default_value = "qwen3-0.6b")]
    shapes: Vec<String>,
    /// A llama-bench with its CUDA backend, to measure beside Ostro.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// The program of NVIDIA's that says what GPUs there are.
    #[arg(long, value_name = "PATH", default_value = "nvidia-smi")]
    nvidia_smi: PathBuf,
    /// Seconds after which a check is stopped and has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// The table goes to this file too, row by row.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// # Errors
/// The folder was not packed, or a check failed: the table, which is printed in any case, says which.
pub(super) fn run(options: &Options) -> Result<()> {
    let packed = Packed::open(&options.folder)?;
    let revision = fs::read_to_string(packed.revision()).unwrap_or_else(|_| "an unknown revision".to_owned());
    let mut table = Table::new(format!("Checks of Ostro {revision} on a GPU."), options.out.clone());
    let limit = Duration::from_secs(options.limit);
    let smi = Smi { program: &options.nvidia_smi, limit };
    table.step("nvidia-smi -L".to_owned(), || Ok(Done::Passed(smi.list()?)))?;
    table.step("ostro doctor".to_owned(), || doctor::check(&packed, limit))?;
    table.step("kernels tests: cuda".to_owned(), || cuda(&packed, "kernels_cuda", limit))?;
    table.step("engine tests: cuda".to_owned(), || cuda(&packed, "cuda", limit))?;
    table.step("engine tests: golden".to_owned(), || golden(&packed, limit))?;
    table.step("metrics beside nvidia-smi".to_owned(), || metrics::check(&packed, &smi))?;
    let setting = Setting { packed: &packed, peer: options.peer.as_deref(), limit };
    for shape in options.shapes.iter().filter(|shape| !shape.is_empty()) {
        shape::check(&mut table, &setting, shape)?;
    }
    println!("{table}");
    ensure!(table.failures() == 0, "{} checks failed", table.failures());
    Ok(())
}

/// Those that skip themselves saw no GPU, which is what is checked here; those of the emulated GPU check nothing here.
fn cuda(packed: &Packed, program: &str, limit: Duration) -> Result<Done> {
    let mut command = Command::new(packed.program(program));
    let command = command.env("OSTRO_REAL_GPU", "1").args(["--skip", "emulat"]);
    let tested = tested::run(command, limit)?;
    ensure!(tested.skipped.is_empty(), "tests were skipped: {}", tested.skipped.join("; "));
    Ok(Done::Passed(tested.counts))
}

/// Of the models that are packed. Answers to long prompts, compared on no GPU yet, are left out for now.
fn golden(packed: &Packed, limit: Duration) -> Result<Done> {
    let _link = match Link::ensure(&goldens_of_the_build(), &packed.goldens()) {
        Ok(link) => link,
        Err(error) => return Ok(Done::Skipped(format!("{error:#}"))),
    };
    let mut command = Command::new(packed.program("golden"));
    let command = command.env("XDG_CACHE_HOME", packed.cache()).args(["--skip", "long_prompts"]);
    let tested = tested::run(command, limit)?;
    let skipped: String = tested.skipped.iter().map(|reason| format!("; without {reason}")).collect();
    Ok(Done::Passed(tested.counts + &skipped))
}

/// A symbolic link where a folder is expected; removed when it is dropped.
struct Link(PathBuf);

impl Link {
    /// `None` where there is something already that is no link: one was left by a run that was killed.
    fn ensure(at: &Path, target: &Path) -> Result<Option<Link>> {
        if at.exists() && !at.is_symlink() {
            return Ok(None);
        }
        let parent = at.parent().context("a folder is in another")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let _ = fs::remove_file(at);
        symlink(target, at).with_context(|| format!("cannot link {}", at.display()))?;
        Ok(Some(Link(at.to_owned())))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // A link that stays is replaced by the next run's.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
