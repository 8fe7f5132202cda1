//! CUDA's compiler from the Python registry, pinned, in the cache folder: fetched once, nothing of it in the checkout.
//!
//! CUDA 13.0 compiles; of 12.4 there is only the assembler, which shows that an older driver can read the result.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::download::{self, Package, Registry};

const COMPILER: [Package; 5] = [
    wheel("nvidia-cuda-nvcc", "13.0.88", "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03"),
    wheel("nvidia-cuda-crt", "13.0.88", "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4"),
    wheel("nvidia-nvvm", "13.0.88", "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0"),
    wheel(
        "nvidia-cuda-runtime",
        "13.0.96",
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    ),
    wheel("nvidia-cuda-cccl", "13.0.85", "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649"),
];

const ASSEMBLER: [Package; 1] = [wheel(
    "nvidia-cuda-nvcc-cu12",
    "12.4.131",
    "e4c9a35435c3b0e36c6397c5696334c9ea6650e524736cbd1c5d345ea099bb04",
)];

const fn wheel(name: &'static str, version: &'static str, sha256: &'static str) -> Package {
    Package { registry: Registry::Python, name, version, sha256 }
}

/// `nvcc` of CUDA 13.0; it preprocesses with the machine's `g++`.
pub(super) fn compiler() -> Result<PathBuf> {
    let needed = ["nvidia/cu13/bin/nvcc", "nvidia/cu13/nvvm/bin/cicc"];
    Ok(unpacked(&COMPILER, &needed)?.join(needed[0]))
}

/// `ptxas` of CUDA 12.4.
pub(super) fn assembler() -> Result<PathBuf> {
    let program = "nvidia/cuda_nvcc/bin/ptxas";
    Ok(unpacked(&ASSEMBLER, &[program])?.join(program))
}

/// The folder with the files of `packages`. Another pin has another folder.
fn unpacked(packages: &[Package], needed: &[&str]) -> Result<PathBuf> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the compiler's pinned packages are for Linux on x86-64"
    );
    let folder = download::unpacked(&cache::root()?.join("cuda"), &folder_name(packages), packages, unpack)?;
    for file in needed {
        ensure!(folder.join(file).is_file(), "the packages hold no {file}");
    }
    Ok(folder)
}

/// With what the archive says of who may run which file.
fn unpack(archive: &Path, out: &Path) -> Result<()> {
    let unpacked = zip::ZipArchive::new(File::open(archive)?).and_then(|mut zip| zip.extract(out));
    unpacked.with_context(|| format!("cannot unpack {}", archive.display()))
}

fn folder_name(packages: &[Package]) -> String {
    let pins: Vec<&str> = packages.iter().map(|package| &package.sha256[..4]).collect();
    format!("{}-{}-{}", packages[0].name, packages[0].version, pins.concat())
}

/// What the programs do depends on nothing that a user has set for a CUDA of their own.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["NVCC_APPEND_FLAGS", "NVCC_PREPEND_FLAGS", "NVCC_CCBIN", "CPATH", "CPLUS_INCLUDE_PATH"] {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pin_has_another_folder() {
        let other = wheel("nvidia-cuda-nvcc-cu12", "12.4.131", "0000");
        assert_eq!(folder_name(&ASSEMBLER), "nvidia-cuda-nvcc-cu12-12.4.131-e4c9");
        assert_ne!(folder_name(&ASSEMBLER), folder_name(&[other]));
        assert!(folder_name(&COMPILER).ends_with("-56fe2c80c5f47f82e0da"));
    }
}
