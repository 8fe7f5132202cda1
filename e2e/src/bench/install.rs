//! Peers from the Python registry, pinned, in the cache folder: done once, nothing of it in the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use anyhow::{Context, Result, ensure};

use crate::download::{self, LLAMA_CPP, Package, Registry};
use crate::process::run;
use crate::{cache, debian};

pub(super) const MISTRAL_RS: Package = Package {
    registry: Registry::Python,
    name: "mistralrs",
    version: "0.9.5",
    sha256: "60cd70976a2ec50175f3d68cd269ccfa75b488c521a34e1d631c1f3da384bd01",
};

/// Debian's clang: an older gcc loses the stores before `ldtilecfg`, and llama.cpp's AMX path crashes.
const TOOLS: [debian::Needed; 4] = [
    ("clang-19", "clang-19"),
    // The library that clang's OpenMP links.
    ("/usr/lib/llvm-19/lib/libomp.so", "libomp-19-dev"),
    ("cmake", "cmake"),
    ("ninja", "ninja-build"),
];

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

/// What the wheel of `package`, unpacked in `folder`, was built for.
pub(super) fn wheel_tags(folder: &Path, package: &Package) -> Result<String> {
    let path = folder.join(format!("{}-{}.dist-info/WHEEL", package.name, package.version));
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tags: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Tag: ")).map(str::trim).collect();
    ensure!(!tags.is_empty(), "{} has no tag", path.display());
    Ok(tags.join(", "))
}

/// Installs the compiler and the builders that are missing, as the set-up of the tests does.
pub(super) fn tools() -> Result<()> {
    debian::install(&debian::missing(&TOOLS))
}

fn unpacked(package: &Package, unpack: impl Fn(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let name = format!("{}-{}", package.name, package.version);
    download::unpacked(&cache::root()?.join("peers"), &name, slice::from_ref(package), unpack)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_wheel_tells_what_it_was_built_for() {
        let folder = TempDir::new().unwrap();
        let metadata = folder.path().join(format!("mistralrs-{}.dist-info", MISTRAL_RS.version));
        std::fs::create_dir(&metadata).unwrap();
        let tags_of = |text| {
            std::fs::write(metadata.join("WHEEL"), text).unwrap();
            wheel_tags(folder.path(), &MISTRAL_RS).map_err(|error| error.to_string())
        };
        let text =
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp310-abi3-manylinux_2_17_x86_64\nTag: b\n";
        assert_eq!(tags_of(text), Ok("cp310-abi3-manylinux_2_17_x86_64, b".to_owned()));
        assert!(tags_of("Wheel-Version: 1.0\n").unwrap_err().ends_with("WHEEL has no tag"));
    }
}
