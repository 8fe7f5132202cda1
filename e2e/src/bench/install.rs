//! Peers from the Python registry, pinned, in the cache folder: done once, nothing of it in the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::cache;
use crate::download::{Package, Registry, fetch};
use crate::process::run;

pub(super) const LLAMA_CPP: Package = Package {
    registry: Registry::PythonSource,
    name: "llama-cpp-python",
    version: "0.3.36",
    sha256: "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
};

pub(super) const MISTRAL_RS: Package = Package {
    registry: Registry::Python,
    name: "mistralrs",
    version: "0.9.5",
    sha256: "60cd70976a2ec50175f3d68cd269ccfa75b488c521a34e1d631c1f3da384bd01",
};

/// Debian's; an older gcc loses the stores before `ldtilecfg`, and its AMX path crashes.
const COMPILER_PACKAGES: [&str; 2] = ["clang-19", "libomp-19-dev"];

/// The sources of llama.cpp.
pub(super) fn llama_cpp() -> Result<PathBuf> {
    let folder = unpacked(&LLAMA_CPP, |archive, out| {
        run(Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(archive).arg("-C").arg(out))
    })?;
    Ok(folder.join("vendor/llama.cpp"))
}

/// The folder that Python finds `mistralrs` in.
pub(super) fn mistral_rs() -> Result<PathBuf> {
    unpacked(&MISTRAL_RS, |archive, out| {
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(out))
    })
}

/// Installs the compiler and the builders that are missing, as the set-up of the tests does.
pub(super) fn tools() -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    if !is_command("clang-19") {
        missing.extend(COMPILER_PACKAGES);
    }
    missing.extend(
        [("cmake", "cmake"), ("ninja", "ninja-build")]
            .into_iter()
            .filter_map(|(command, package)| (!is_command(command)).then_some(package)),
    );
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(" "));
    let is_root =
        std::fs::read_to_string("/proc/self/status")?.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let apt = || match is_root {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        }
    };
    run(apt().args(["update", "-q"]))?;
    run(apt().args(["install", "-yq", "--no-install-recommends"]).args(&missing))
        .with_context(|| format!("install {} yourself", missing.join(" ")))
}

fn is_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Fetches and unpacks into a temporary folder and renames, so that a broken run leaves nothing.
fn unpacked(package: &Package, unpack: impl Fn(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let parent = cache::root()?.join("peers");
    let folder = parent.join(format!("{}-{}", package.name, package.version));
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&parent)?;
    let (archives, staging) = (TempDir::new_in(&parent)?, TempDir::new_in(&parent)?);
    let archive = fetch(package, archives.path())?;
    eprintln!("unpacking {}", archive.display());
    unpack(&archive, staging.path())?;
    std::fs::rename(staging.keep(), &folder)?;
    Ok(folder)
}
