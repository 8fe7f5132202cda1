//! `ostro-e2e gpu`: compiles the kernels' code, and checks Ostro on a machine that has a GPU.

mod assemble;
mod built;
mod check;
mod compile;
mod doctor;
mod metrics;
mod modules;
mod pack;
mod packed;
mod rates;
mod shape;
mod smi;
mod table;
mod tested;
mod toolkit;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

pub use crate::download::Unreachable;
pub use compile::check as check_kernels;

#[derive(Subcommand)]
pub enum Command {
    /// Compile kernels/cuda/*.cu to kernels/cuda/ptx/*.ptx, with a compiler that is fetched once.
    Compile(Compile),
    /// Collect what `gpu check` needs, for a machine that has a GPU and no Rust.
    Pack(Pack),
    /// On a machine with a GPU: run every check of a packed folder and print one table.
    Check(check::Options),
}

#[derive(Args)]
pub struct Compile {
    /// Write nothing: fail when a committed file differs, does not assemble on an older CUDA, or spills.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
pub struct Pack {
    /// The folder to write; what is in it already is overwritten.
    folder: PathBuf,
    /// Leave out SmolLM2, which is larger than all programs together; its golden answers are not checked then.
    #[arg(long)]
    no_model: bool,
}

/// # Errors
/// The compiler cannot be fetched, a program does not compile, or a check fails.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Compile(Compile { check: true }) => compile::check(),
        Command::Compile(Compile { check: false }) => compile::write(),
        Command::Pack(Pack { folder, no_model: true }) => pack::programs(folder),
        Command::Pack(Pack { folder, no_model: false }) => pack::all(folder),
        Command::Check(options) => check::run(options),
    }
}
