//! `ostro-e2e image build`: container images of the daemon and the operator, without a container program.

mod architecture;
mod archive;
#[cfg(test)]
mod containerfile;
mod layer;
mod libraries;
mod programs;
mod python;
mod sbom;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use libraries::Library;
use tempfile::TempDir;

pub use architecture::Architecture;
pub use archive::{Image, write};
pub use layer::Layer;
pub use python::with_python;

/// The user of the images: not root, as Pod Security `restricted` asks. The number that distroless images use.
const USER: u32 = 65532;

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Subcommand)]
pub enum Command {
    /// Write one OCI archive with the images registry.local/ostro:dev and registry.local/ostro-operator:dev.
    Build(Build),
}

#[derive(Args, Debug)]
pub struct Build {
    /// The archive to write; `cluster load` takes it, as do `ctr images import`, `podman load` and `docker load`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The processors that the images are for, as amd64,arm64; without it, this machine's.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    architecture: Vec<Architecture>,
    /// A built daemon; without it `cargo build --release` makes one.
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// A built operator; without it `cargo build --release` makes one, if the workspace has it.
    #[arg(long, value_name = "PATH")]
    operator: Option<PathBuf>,
    /// Where to write a bill of materials (CycloneDX) of each image, as NAME-ARCHITECTURE.cdx.json; of these sources,
    /// also where a program is given.
    #[arg(long, value_name = "FOLDER")]
    sbom: Option<PathBuf>,
}

/// # Errors
/// A program does not build or lacks a library, or the archive cannot be written.
pub fn run(command: &Command) -> Result<()> {
    let Command::Build(build) = command;
    let architectures = build.architectures()?;
    let folder = TempDir::new()?;
    let mut images = Vec::new();
    for architecture in architectures {
        for (name, given) in [("ostro", &build.daemon), ("ostro-operator", &build.operator)] {
            let program = match given {
                Some(path) => Some(path.clone()),
                None => programs::build(name, architecture)?,
            };
            let Some(path) = program else {
                eprintln!("skipped: {name}, which the workspace does not have");
                continue;
            };
            if let Some(sbom) = &build.sbom {
                write_sbom(sbom, name, &path, architecture)?;
            }
            let stripped = programs::stripped(&path, folder.path(), architecture)?;
            images.push(image_of(name, &stripped, architecture)?);
        }
    }
    write(&build.out, &images)?;
    for image in &images {
        eprintln!("wrote {} for {}", image.name, image.architecture.name());
    }
    println!("{}", build.out.display());
    Ok(())
}

impl Build {
    /// Each once. A program that is given is for one only.
    fn architectures(&self) -> Result<BTreeSet<Architecture>> {
        let named: BTreeSet<Architecture> = self.architecture.iter().copied().collect();
        let is_given = self.daemon.is_some() || self.operator.is_some();
        ensure!(named.len() < 2 || !is_given, "--daemon and --operator are for one --architecture");
        Ok(if named.is_empty() { BTreeSet::from([Architecture::NATIVE]) } else { named })
    }
}

fn write_sbom(folder: &Path, name: &str, program: &Path, architecture: Architecture) -> Result<()> {
    let bill = sbom::of(name, architecture, &libraries::of(program, architecture)?)?;
    let path = folder.join(format!("{name}-{}.cdx.json", architecture.name()));
    let text = serde_json::to_string_pretty(&bill)? + "\n";
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// An otherwise empty image with the program `name`, its libraries, and what the C library and TLS read.
fn image_of(name: &str, program: &Path, architecture: Architecture) -> Result<Image> {
    let mut layer = base()?;
    let inside = format!("/usr/local/bin/{name}");
    layer.copy(program, &inside)?;
    for Library { source, inside } in libraries::of(program, architecture)? {
        layer.copy(&source, &inside.to_string_lossy())?;
    }
    Ok(Image {
        architecture,
        name: format!("registry.local/{name}:dev"),
        layer,
        entrypoint: vec![inside],
        arguments: Vec::new(),
        environment: vec!["HOME=/home/nonroot".to_owned()],
        user: format!("{USER}:{USER}"),
    })
}

/// What the C library and TLS read, and a user that is not root.
fn base() -> Result<Layer> {
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
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn out_is_required_and_programs_may_be_given() {
        let parse = |words: &[&str]| Line::try_parse_from([&["image"], words].concat());
        assert!(parse(&["build"]).is_err());
        let line = parse(&["build", "--out", "o.tar", "--daemon", "d"]).map(|line| line.command);
        let Ok(Command::Build(build)) = line else { panic!("not a build") };
        assert_eq!((&build.out, &build.daemon), (&PathBuf::from("o.tar"), &Some(PathBuf::from("d"))));
        assert!(build.operator.is_none());
        assert_eq!(build.architectures().unwrap(), BTreeSet::from([Architecture::NATIVE]));
        let line = parse(&["build", "--out", "o.tar", "--architecture", "arm64,amd64", "--operator", "o"]);
        let Ok(Command::Build(mut build)) = line.map(|line| line.command) else { panic!("not a build") };
        let error = build.architectures().unwrap_err().to_string();
        assert!(error.contains("--operator are for one --architecture"), "{error}");
        build.operator = None;
        assert_eq!(build.architectures().unwrap().len(), 2);
        assert!(parse(&["build", "--out", "o.tar", "--architecture", "s390x"]).is_err());
    }

    /// A real dynamic program, run from the unpacked image alone.
    #[test]
    fn a_program_has_its_libraries_with_it() {
        let folder = TempDir::new().unwrap();
        let image = image_of("ostro", &std::env::current_exe().unwrap(), Architecture::NATIVE).unwrap();
        assert_eq!((image.user.as_str(), image.name.as_str()), ("65532:65532", "registry.local/ostro:dev"));
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
