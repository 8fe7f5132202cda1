//! `ostro-e2e gpu pack`: programs, golden answers and a model in one folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::built;
use super::packed::{Packed, TOOL, goldens_of_the_build};
use crate::process::{git_describe, run};
use crate::{cache, model};

/// Programs, golden answers, and SmolLM2 where it was fetched.
///
/// # Errors
/// A program does not build, or the folder cannot be written.
pub(super) fn all(folder: &Path) -> Result<()> {
    let packed = Packed::new(folder);
    match model::cached_smollm2()? {
        Some(file) => {
            // Where the tests look for it below the cache folder.
            let inside = file.strip_prefix(cache::root()?).context("a model is in the cache folder")?;
            copy(&file, &packed.cache().join("ostro").join(inside))?;
        }
        None => eprintln!("skipped: SmolLM2, which ostro-e2e model fetch smollm2-135m-instruct gets"),
    }
    programs(folder)
}

/// All but the model.
///
/// # Errors
/// As for `all`.
pub(super) fn programs(folder: &Path) -> Result<()> {
    let packed = Packed::new(folder);
    fs::create_dir_all(packed.programs()).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, program) in built::programs()? {
        strip(&program, &packed.program(name))?;
    }
    strip(&std::env::current_exe()?, &packed.program(TOOL))?;
    goldens(&goldens_of_the_build(), &packed)?;
    fs::write(packed.revision(), revision()?)?;
    let megabytes = size(packed.folder())?.div_ceil(1 << 20);
    eprintln!("{megabytes} MiB; run there: {} gpu check FOLDER", Path::new("bin").join(TOOL).display());
    println!("{}", folder.display());
    Ok(())
}

/// Without line tables and names, which are most of a release build.
fn strip(program: &Path, out: &Path) -> Result<()> {
    run(Command::new("strip").arg("-o").arg(out).arg(program))
}

fn goldens(from: &Path, packed: &Packed) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().context("a file has a name")?;
            copy(&path, &packed.goldens().join(name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn revision() -> Result<String> {
    let output = git_describe().output().context("cannot start git")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_alone_are_packed_as_goldens() {
        let folder = tempfile::tempdir().unwrap();
        let packed = Packed::new(&folder.path().join("packed"));
        let from = folder.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a.json"), "12345").unwrap();
        fs::write(from.join("novel.txt"), "text").unwrap();
        goldens(&from, &packed).unwrap();
        assert_eq!(size(packed.folder()).unwrap(), 5);
        assert!(packed.goldens().join("a.json").is_file());
    }

    #[test]
    fn a_packed_program_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (program, out) = (std::env::current_exe().unwrap(), folder.path().join("program"));
        strip(&program, &out).unwrap();
        assert!(out.metadata().unwrap().len() < program.metadata().unwrap().len());
        assert!(Command::new(out).arg("--list").output().unwrap().status.success());
    }
}
