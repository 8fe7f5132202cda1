//! Packages from the Python and JavaScript registries, through their own clients.
//!
//! The clients know the user's mirrors and proxies, so no registry address stands here. What arrives
//! is held to a pinned sha256 before anything reads it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::process::run;

/// A package of a registry, pinned.
pub(crate) struct Package {
    pub(crate) registry: Registry,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Registry {
    /// Built packages.
    Python,
    /// Sources, which are not built.
    PythonSource,
    Npm,
}

/// A peer, with vocabularies and templates of many models.
pub(crate) const LLAMA_CPP: Package = Package {
    registry: Registry::PythonSource,
    name: "llama-cpp-python",
    version: "0.3.36",
    sha256: "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
};

/// Marks, as its context, the error of a registry that does not answer or whose client is missing: no fault of ours.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no package came from the registry")
    }
}

/// Downloads `package` into `folder` and returns the archive's path.
pub(crate) fn fetch(package: &Package, folder: &Path) -> Result<PathBuf> {
    let Package { registry, name, version, sha256 } = package;
    eprintln!("fetching {name} {version}");
    match registry {
        Registry::Python => pip_download(package, "--only-binary=:all:", folder)?,
        Registry::PythonSource => pip_download(package, &format!("--no-binary={name}"), folder)?,
        Registry::Npm => run(Command::new("npm")
            .args(["pack", "--silent", "--pack-destination"])
            .arg(folder)
            .arg(format!("{name}@{version}")))?,
    }
    let archive = only_file(folder)?;
    check_sha256(&archive, sha256).with_context(|| format!("package {name} {version}"))?;
    Ok(archive)
}

/// The folder `name` in `parent` with the packages, of which `unpack` puts an archive into a folder; it is whole or not
/// there.
pub(crate) fn unpacked(
    parent: &Path,
    name: &str,
    packages: &[Package],
    unpack: impl Fn(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = parent.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let staging = TempDir::new_in(parent)?;
    for package in packages {
        let archives = TempDir::new_in(parent)?;
        let archive = fetch(package, archives.path())?;
        eprintln!("unpacking {}", archive.display());
        unpack(&archive, staging.path())?;
    }
    arrive(staging.path(), &folder)?;
    Ok(folder)
}

/// Who comes second finds the same files there.
fn arrive(staging: &Path, folder: &Path) -> Result<()> {
    if let Err(error) = std::fs::rename(staging, folder) {
        ensure!(folder.is_dir(), "cannot move what was unpacked to {}: {error}", folder.display());
    }
    Ok(())
}

fn pip_download(package: &Package, kind: &str, folder: &Path) -> Result<()> {
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", kind, "--dest"])
        .arg(folder)
        .arg(format!("{}=={}", package.name, package.version)))
    .context(Unreachable)
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let files = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    match files.as_slice() {
        [file] => Ok(file.path()),
        others => bail!("expected one file in {}, found {}", folder.display(), others.len()),
    }
}

/// Reads the whole file, with a progress bar when it is large.
pub(crate) fn check_sha256(path: &Path, expected: &str) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bar = bar(file.metadata()?.len(), "checking");
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    let found = hex(&hash.finalize());
    ensure!(found == expected, "sha256 of {} is {found}, expected {expected}", path.display());
    Ok(())
}

/// As digests are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A byte counter on standard error; invisible when that is not a terminal.
pub(crate) fn bar(bytes: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {bytes_per_sec}")
        .expect("the template is constant");
    ProgressBar::new(bytes).with_style(style).with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_unpacks_second_takes_what_is_there() {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("package");
        for run in ["first", "second"] {
            let staging = TempDir::new_in(parent.path()).unwrap();
            std::fs::write(staging.path().join("file"), run).unwrap();
            arrive(staging.path(), &folder).unwrap();
        }
        assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "first");
        let lost = arrive(&parent.path().join("none"), &parent.path().join("other"));
        assert!(lost.unwrap_err().to_string().contains("other"));
    }
}
