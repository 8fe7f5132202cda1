//! `ostro-e2e image build`: container images of the daemon and the operator, without a container program.

mod archive;
#[cfg(test)]
mod containerfile;
mod layer;
mod libraries;
mod programs;
mod python;
mod sbom;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tempfile::TempDir;

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
    /// A built daemon; without it `cargo build --release` makes one.
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// A built operator; without it `cargo build --release` makes one, if the workspace has it.
    #[arg(long, value_name = "PATH")]
    operator: Option<PathBuf>,
    /// Where to write a bill of materials (CycloneDX) of each image, as NAME.cdx.json; of these sources, also where a
    /// program is given.
    #[arg(long, value_name = "FOLDER")]
    sbom: Option<PathBuf>,
}

/// # Errors
/// A program does not build or lacks a library, or the archive cannot be written.
pub fn run(command: &Command) -> Result<()> {
    let Command::Build(Build { out, daemon, operator, sbom }) = command;
    let folder = TempDir::new()?;
    let mut images = Vec::new();
    for (name, given) in [("ostro", daemon), ("ostro-operator", operator)] {
        let program = match given {
            Some(path) => Some(path.clone()),
            None => programs::build(name)?,
        };
        match program {
            Some(path) => {
                if let Some(sbom) = sbom {
                    write_sbom(sbom, name, &path)?;
                }
                images.push(image_of(name, &programs::stripped(&path, folder.path())?)?);
            }
            None => eprintln!("skipped: {name}, which the workspace does not have"),
        }
    }
    write(out, &images)?;
    for image in &images {
        eprintln!("wrote {}", image.name);
    }
    println!("{}", out.display());
    Ok(())
}

fn write_sbom(folder: &Path, name: &str, program: &Path) -> Result<()> {
    let bill = sbom::of(name, &libraries::of(program)?)?;
    let path = folder.join(format!("{name}.cdx.json"));
    let text = serde_json::to_string_pretty(&bill)? + "\n";
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// An otherwise empty image with the program `name`, its libraries, and what the C library and TLS read.
fn image_of(name: &str, program: &Path) -> Result<Image> {
    let mut layer = base()?;
    let inside = format!("/usr/local/bin/{name}");
    layer.copy(program, &inside)?;
    for library in libraries::of(program)? {
        layer.copy(&library, &library.to_string_lossy())?;
    }
    Ok(Image {
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
        assert_eq!((build.out, build.daemon), (PathBuf::from("o.tar"), Some(PathBuf::from("d"))));
        assert!(build.operator.is_none());
    }

    /// A real dynamic program, run from the unpacked image alone.
    #[test]
    fn a_program_has_its_libraries_with_it() {
        let folder = TempDir::new().unwrap();
        let image = image_of("ostro", &std::env::current_exe().unwrap()).unwrap();
        assert_eq!((image.user.as_str(), image.name.as_str()), ("65532:65532", "registry.local/ostro:dev"));
        let mut bytes = Vec::new();
        image.layer.write(&mut bytes).unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(folder.path()).unwrap();
        let libraries = libraries::of(&folder.path().join("usr/local/bin/ostro")).unwrap();
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
