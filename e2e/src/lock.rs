//! Locks between runs of this tool: files, of which the kernel lets go should the program that holds one be killed.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Waits while another run holds it, and says so; held until it is dropped.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let folder = path.parent().context("a lock has a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = File::create(path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another ostro-e2e, which holds {}", path.display());
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", path.display()),
    }
    Ok(file)
}
