//! `ostro-e2e image`: container images of the daemon and the operator, without a container program.

mod architecture;
mod archive;
#[cfg(test)]
mod containerfile;
mod layer;
mod libraries;
mod make;
mod programs;
mod provenance;
mod publish;
mod python;
mod sbom;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

pub use architecture::Architecture;
pub use archive::{Image, write};
pub use layer::Layer;
pub use python::with_python;

use make::{Made, Programs};
use publish::Publish;

#[derive(Subcommand)]
pub enum Command {
    /// Write one OCI archive with the images registry.local/ostro:dev and registry.local/ostro-operator:dev.
    Build(Build),
    /// Push the images to a registry and sign them, with what each holds and how it was made; prints Helm values.
    Publish(Publish),
}

#[derive(Args, Debug)]
pub struct Build {
    /// The archive to write; `cluster load` takes it, as do `ctr images import`, `podman load` and `docker load`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    programs: Programs,
    /// Where to write a bill of materials (CycloneDX) of each image, as NAME-ARCHITECTURE.cdx.json; of these sources,
    /// also where a program is given.
    #[arg(long, value_name = "FOLDER")]
    sbom: Option<PathBuf>,
}

/// # Errors
/// A program does not build or lacks a library, the archive cannot be written, or the registry does not take an image.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Build(build) => run_build(build),
        Command::Publish(publish) => publish::run(publish),
    }
}

fn run_build(build: &Build) -> Result<()> {
    let made = build.programs.make("registry.local", "dev")?;
    if let Some(folder) = &build.sbom {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for one in &made.all {
            let path = write_sbom(folder, one)?;
            eprintln!("wrote {}", path.display());
        }
    }
    let images: Vec<Image> = made.all.into_iter().map(|one| one.image).collect();
    write(&build.out, &images)?;
    for image in &images {
        eprintln!("wrote {} for {}", image.name, image.architecture.name());
    }
    println!("{}", build.out.display());
    Ok(())
}

/// Returns the file.
fn write_sbom(folder: &Path, made: &Made) -> Result<PathBuf> {
    let architecture = made.image.architecture;
    let bill = sbom::of(made.name, architecture, &libraries::of(&made.program, architecture)?)?;
    let path = folder.join(format!("{}-{}.cdx.json", made.name, architecture.name()));
    std::fs::write(&path, serde_json::to_string_pretty(&bill)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

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
        assert!(build.out == Path::new("o.tar") && build.programs.are_given());
        assert!(parse(&["build", "--out", "o.tar", "--architecture", "s390x"]).is_err());
        assert!(parse(&["publish"]).is_err());
    }
}
