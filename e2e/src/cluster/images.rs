//! The cluster's own images: what holds a pod together, DNS, and a shell for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::build;
use super::folders::Folders;
use super::modules::{COREDNS, PAUSE};
use crate::download::hex;
use crate::image::{Architecture, Image, Layer, write};

pub(super) const PAUSE_IMAGE: &str = "registry.local/pause:1";
pub(super) const COREDNS_IMAGE: &str = "registry.local/coredns:1";
/// For tests: `sh`, `wget`, `nslookup`, `httpd` and so on.
const BUSYBOX_IMAGE: &str = "registry.local/busybox:1";

/// To be changed with what is made here of a program.
const RECIPE: &str = "1";

/// Writes the archives that are missing and returns them all, those of the present programs.
///
/// # Errors
/// busybox is missing, or the cache folder cannot be written.
pub(super) fn ensure(folders: &Folders) -> Result<Vec<PathBuf>> {
    let pause = build::program(folders, &PAUSE, "pause");
    let coredns = build::program(folders, &COREDNS, "coredns");
    let busybox = busybox()?;
    Ok(vec![
        archive(folders, &PAUSE.key(), || single(PAUSE_IMAGE, &pause))?,
        archive(folders, &COREDNS.key(), || single(COREDNS_IMAGE, &coredns))?,
        archive(folders, &format!("busybox-{}", digest_of(&busybox)?), || shell(&busybox))?,
    ])
}

/// The file's name tells what it is made of, so that an old one is never taken for a new one.
fn archive(folders: &Folders, key: &str, image: impl FnOnce() -> Result<Image>) -> Result<PathBuf> {
    let path = folders.images().join(format!("{key}-{RECIPE}.tar"));
    if !path.is_file() {
        let image = image()?;
        write(&path, &[image])?;
    }
    Ok(path)
}

/// An image that is one static program.
fn single(name: &str, program: &Path) -> Result<Image> {
    let file = program.file_name().context("a program has a name")?.to_string_lossy();
    let mut layer = Layer::new();
    let inside = format!("/{file}");
    layer.copy(program, &inside)?;
    Ok(Image {
        architecture: Architecture::NATIVE,
        name: name.to_owned(),
        layer,
        entrypoint: vec![inside],
        arguments: Vec::new(),
        environment: Vec::new(),
        user: String::new(),
    })
}

fn shell(busybox: &Path) -> Result<Image> {
    let mut image = single(BUSYBOX_IMAGE, busybox)?;
    image.layer = Layer::new();
    image.layer.copy(busybox, "/bin/busybox")?;
    let output = Command::new(busybox).arg("--list").output().context("cannot start busybox")?;
    ensure!(output.status.success(), "busybox does not list its programs");
    for applet in String::from_utf8_lossy(&output.stdout).lines().filter(|name| *name != "busybox") {
        image.layer.link(&format!("/bin/{applet}"), "/bin/busybox");
    }
    // A pod that names no program stays.
    image.entrypoint = Vec::new();
    image.arguments = ["sleep", "1d"].map(str::to_owned).to_vec();
    Ok(image)
}

fn busybox() -> Result<PathBuf> {
    let path =
        ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.is_file());
    path.context("busybox is missing")
}

fn digest_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)[..4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ones_that_kubernetes_does_not_rewrite() {
        for name in [PAUSE_IMAGE, COREDNS_IMAGE, BUSYBOX_IMAGE] {
            let (host, rest) = name.split_once('/').unwrap();
            assert!(host.contains('.') && !rest.ends_with(":latest") && rest.contains(':'), "{name}");
        }
    }

    #[test]
    fn a_program_is_its_image() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let image = single(PAUSE_IMAGE, file.path()).unwrap();
        let name = file.path().file_name().unwrap().to_string_lossy();
        assert_eq!(image.entrypoint, [format!("/{name}")]);
        assert_eq!(digest_of(file.path()).unwrap(), "e3b0c442");
    }
}
