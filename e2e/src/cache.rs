//! The folder of models and tools: outside the checkout, shared by all clones of a user.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// `$XDG_CACHE_HOME/ostro`, or `~/.cache/ostro`.
pub fn root() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_CACHE_HOME").filter(|f| !f.is_empty()) {
        return Ok(PathBuf::from(folder).join("ostro"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/ostro"))
}

/// Where a model's files are, or will be.
pub fn model(name: &str) -> Result<PathBuf> {
    Ok(root()?.join("models").join(name))
}
