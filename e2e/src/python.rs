//! A Python environment with pinned packages, in the cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::download::hex;
use crate::process::{output_within, run};

/// Starting takes milliseconds; this is for a machine under heavy load.
const LIMIT: Duration = Duration::from_secs(60);

/// The interpreter of an environment that holds what `requirements` pins; built once per content and Python.
pub fn environment(requirements: &Path) -> Result<PathBuf> {
    let text =
        std::fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    // Another Python looks for packages in another folder.
    let mut version = Command::new("python3");
    version.args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
    let version = output_within(&mut version, LIMIT)?.output;
    let folder = cache::root()?.join(folder_name(&text, version.trim()));
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

fn folder_name(requirements: &[u8], version: &str) -> String {
    let digest = Sha256::digest([requirements, version.as_bytes()].concat());
    format!("python-{}", hex(&digest[..4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_of_another_python_is_another() {
        let here = folder_name(b"openai==1", "3.11");
        assert_eq!(here, folder_name(b"openai==1", "3.11"));
        assert_ne!(here, folder_name(b"openai==1", "3.13"));
        assert_ne!(here, folder_name(b"openai==2", "3.11"));
    }
}
