//! Release builds of the workspace's programs, as images take them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::architecture::Architecture;
use crate::process::{cargo, run};

/// Builds the package `name` and returns its program.
///
/// # Errors
/// `cargo` or a compiler is missing, or the build fails.
pub(super) fn build(name: &str, architecture: Architecture) -> Result<PathBuf> {
    let metadata = metadata()?;
    eprintln!("building {name} for {}", architecture.name());
    let mut command = cargo();
    command.args(build_words(name));
    architecture.set(&mut command)?;
    run(&mut command)?;
    let folder = metadata["target_directory"].as_str().context("cargo names its target directory")?;
    let folder = match architecture {
        Architecture::NATIVE => PathBuf::from(folder),
        _ => Path::new(folder).join(architecture.target()),
    };
    let program = folder.join("release").join(name);
    ensure!(program.is_file(), "the build has made no {}", program.display());
    Ok(program)
}

/// The daemon of an image also runs on GPUs: that needs no toolkit to build, and no GPU to start.
pub(super) fn build_words(name: &str) -> Vec<&str> {
    [&["build", "--release", "--locked", "--package", name], features(name)].concat()
}

pub(super) fn features(name: &str) -> &'static [&'static str] {
    if name == "ostro" { &["--features", "cuda"] } else { &[] }
}

/// A copy in `folder` without line tables, which are five sixths of a release build; names of functions stay.
///
/// # Errors
/// `strip`, which comes with the C compiler, is missing or does not know the file.
pub(super) fn stripped(program: &Path, folder: &Path, architecture: Architecture) -> Result<PathBuf> {
    check(program, architecture)?;
    let name = program.file_name().context("a program has a name")?.to_string_lossy();
    let copy = folder.join(format!("{name}-{}", architecture.name()));
    run(Command::new(architecture.tool("strip")).arg("--strip-debug").arg("-o").arg(&copy).arg(program))?;
    Ok(copy)
}

/// Whether the file is a program for these machines.
fn check(program: &Path, architecture: Architecture) -> Result<()> {
    let mut head = [0; 20];
    let read = File::open(program).and_then(|mut file| file.read_exact(&mut head));
    let is_program = read.is_ok() && head.starts_with(b"\x7fELF");
    ensure!(is_program, "{} is not a program that can be read", program.display());
    let machine = u16::from_le_bytes([head[18], head[19]]);
    let (name, wanted) = (architecture.name(), architecture.elf_machine());
    ensure!(
        machine == wanted,
        "{} is not for {name}: its ELF machine is {machine}, not {wanted}",
        program.display()
    );
    Ok(())
}

fn metadata() -> Result<Value> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output();
    let output = output.context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripped_program_is_smaller_and_runs() {
        let folder = tempfile::TempDir::new().unwrap();
        let program = std::env::current_exe().unwrap();
        let copy = stripped(&program, folder.path(), Architecture::NATIVE).unwrap();
        assert!(copy.metadata().unwrap().len() < program.metadata().unwrap().len());
        assert!(Command::new(copy).arg("--list").output().unwrap().status.success());
        let text = folder.path().join("text");
        std::fs::write(&text, "no program").unwrap();
        let refused = |file: &Path, architecture| {
            format!("{:#}", stripped(file, folder.path(), architecture).unwrap_err())
        };
        let other = if Architecture::NATIVE == Architecture::Arm64 {
            Architecture::Amd64
        } else {
            Architecture::Arm64
        };
        assert!(refused(&text, Architecture::NATIVE).contains("is not a program"));
        assert!(refused(&program, other).contains(&format!("is not for {}", other.name())));
    }
}
