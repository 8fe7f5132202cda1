//! A Python environment with pinned packages, in the cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::process::run;

/// The interpreter of an environment that holds what `requirements` pins; built once per content.
pub fn environment(requirements: &Path) -> Result<PathBuf> {
    let text =
        std::fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let digest = Sha256::digest(&text);
    let name = format!("python-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    let folder = cache::root()?.join(name);
    let interpreter = folder.join("bin/python");
    let complete = folder.join(".complete");
    if complete.is_file() {
        return Ok(interpreter);
    }
    std::fs::create_dir_all(cache::root()?)?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements))?;
    std::fs::write(complete, b"")?;
    Ok(interpreter)
}
