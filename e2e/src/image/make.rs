//! Makes the images of the workspace's programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use tempfile::TempDir;

use super::architecture::Architecture;
use super::archive::Image;
use super::layer::Layer;
use super::libraries::{self, Library};
use super::programs;

/// The user of the images: not root, as Pod Security `restricted` asks. The number that distroless images use.
pub(super) const USER: u32 = 65532;

pub(super) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Args, Debug)]
pub(super) struct Programs {
    /// The processors that the images are for, as amd64,arm64; without it, this machine's.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    architecture: Vec<Architecture>,
    /// A built daemon; without it `cargo build --release` makes one.
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// A built operator; without it `cargo build --release` makes one.
    #[arg(long, value_name = "PATH")]
    operator: Option<PathBuf>,
}

/// All of one run; the images' programs lie in a folder that goes with this.
pub(super) struct AllMade {
    pub(super) all: Vec<Made>,
    _stripped: TempDir,
}

pub(super) struct Made {
    /// The package's.
    pub(super) name: &'static str,
    /// As it was built.
    pub(super) program: PathBuf,
    pub(super) image: Image,
}

impl Programs {
    /// Named `REPOSITORY/NAME:TAG`.
    ///
    /// # Errors
    /// A program does not build, or lacks a library.
    pub(super) fn make(&self, repository: &str, tag: &str) -> Result<AllMade> {
        let stripped = TempDir::new()?;
        let mut all = Vec::new();
        for architecture in self.architectures()? {
            for (name, given) in [("ostro", &self.daemon), ("ostro-operator", &self.operator)] {
                let program = match given {
                    Some(path) => path.clone(),
                    None => programs::build(name, architecture)?,
                };
                let small = programs::stripped(&program, stripped.path(), architecture)?;
                let image = Image {
                    name: format!("{repository}/{name}:{tag}"),
                    ..image_of(name, &small, architecture)?
                };
                all.push(Made { name, program, image });
            }
        }
        Ok(AllMade { all, _stripped: stripped })
    }

    /// Whether a program is one that this tool does not build, so that nobody knows of what it is.
    pub(super) fn are_given(&self) -> bool {
        self.daemon.is_some() || self.operator.is_some()
    }

    /// Each once. A program that is given is for one only.
    fn architectures(&self) -> Result<BTreeSet<Architecture>> {
        let named: BTreeSet<Architecture> = self.architecture.iter().copied().collect();
        ensure!(named.len() < 2 || !self.are_given(), "--daemon and --operator are for one --architecture");
        Ok(if named.is_empty() { BTreeSet::from([Architecture::NATIVE]) } else { named })
    }
}

/// An otherwise empty image, named as the program in it, with its libraries, and what the C library and TLS read.
pub(super) fn image_of(name: &str, program: &Path, architecture: Architecture) -> Result<Image> {
    let mut layer = base()?;
    let inside = format!("/usr/local/bin/{name}");
    layer.copy(program, &inside)?;
    for Library { source, inside } in libraries::of(program, architecture)? {
        layer.copy(&source, &inside.to_string_lossy())?;
    }
    Ok(Image {
        architecture,
        name: name.to_owned(),
        layer,
        entrypoint: vec![inside],
        arguments: Vec::new(),
        environment: vec!["HOME=/home/nonroot".to_owned()],
        user: format!("{USER}:{USER}"),
    })
}

/// What the C library and TLS read, and a user that is not root.
pub(super) fn base() -> Result<Layer> {
    let mut layer = Layer::new();
    layer.text(
        "/etc/passwd",
        &format!(
            "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/sbin/nologin\n"
        ),
    );
    layer.text("/etc/group", &format!("root:x:0:\nnonroot:x:{USER}:\n"));
    // Names of services come from /etc/hosts, then DNS.
    layer.text("/etc/nsswitch.conf", "hosts: files dns\n");
    if Path::new(CERTIFICATES).is_file() {
        layer.copy(Path::new(CERTIFICATES), CERTIFICATES)?;
    }
    layer.folder_of("/home/nonroot", USER);
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_given_are_for_one_architecture() {
        let mut programs = Programs { architecture: Vec::new(), daemon: None, operator: None };
        assert_eq!(programs.architectures().unwrap(), BTreeSet::from([Architecture::NATIVE]));
        programs.architecture = vec![Architecture::Arm64, Architecture::Amd64, Architecture::Arm64];
        assert_eq!(programs.architectures().unwrap().len(), 2);
        programs.operator = Some("o".into());
        let error = programs.architectures().unwrap_err().to_string();
        assert!(error.contains("--operator are for one --architecture"), "{error}");
    }

    /// A real dynamic program, run from the unpacked image alone.
    #[test]
    fn a_program_has_its_libraries_with_it() {
        let folder = TempDir::new().unwrap();
        let image = image_of("ostro", &std::env::current_exe().unwrap(), Architecture::NATIVE).unwrap();
        assert_eq!(image.user, "65532:65532");
        let mut bytes = Vec::new();
        image.layer.write(&mut bytes).unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(folder.path()).unwrap();
        let libraries =
            libraries::of(&folder.path().join("usr/local/bin/ostro"), Architecture::NATIVE).unwrap();
        let libraries: Vec<PathBuf> = libraries.into_iter().map(|library| library.inside).collect();
        let interpreter = libraries.iter().find(|path| path.to_string_lossy().contains("ld-linux")).unwrap();
        let inside = |path: &str| folder.path().join(path.trim_start_matches('/'));
        let mut searched: Vec<_> = libraries.iter().filter_map(|path| path.parent()).collect();
        searched.dedup();
        let searched: Vec<_> =
            searched.iter().map(|folder| inside(&folder.to_string_lossy()).display().to_string()).collect();
        let output = std::process::Command::new(inside(&interpreter.to_string_lossy()))
            .args(["--inhibit-cache", "--library-path", &searched.join(":"), "--list"])
            .arg(inside("/usr/local/bin/ostro"))
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{listed}{}", String::from_utf8_lossy(&output.stderr));
        for line in listed.lines().filter(|line| line.contains("=>") && !line.contains("ld-linux")) {
            assert!(line.contains(&folder.path().display().to_string()), "not from the image: {line}");
        }
    }
}
