//! The shared libraries that a program needs in an otherwise empty image.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::architecture::Architecture;

/// A file of this machine, and its path in the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Library {
    pub(super) source: PathBuf,
    pub(super) inside: PathBuf,
}

/// The program's interpreter and libraries; none for a static program.
///
/// # Errors
/// `ldd`, or `readelf` for a machine of another kind, is missing, or does not find a library.
pub(super) fn of(program: &Path, architecture: Architecture) -> Result<Vec<Library>> {
    if architecture != Architecture::NATIVE {
        return foreign(program, architecture);
    }
    let paths = native(program)?.into_iter();
    Ok(paths.map(|path| Library { source: path.clone(), inside: path }).collect())
}

/// As `ldd` finds them on this machine.
fn native(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").env("LC_ALL", "C").arg(program).output().context("cannot start ldd")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("ldd {} failed: {}", program.display(), errors.trim());
    }
    parse(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("libraries of {}", program.display()))
}

/// Lines are `name => path (address)`, `path (address)` for the interpreter, and the kernel's `linux-vdso.so.1`; before
/// them, `program: path: version of a symbol not found` where the program was built for a newer C library.
fn parse(output: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in output.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("{line}");
        }
        let target = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        if target.starts_with('/') {
            paths.push(PathBuf::from(target.split(" (").next().unwrap_or(target)));
        }
    }
    Ok(paths)
}

/// As the program and its libraries name them, out of the C library for cross compilers.
fn foreign(program: &Path, architecture: Architecture) -> Result<Vec<Library>> {
    let (sources, own) = (architecture.foreign_libraries(), architecture.own_libraries());
    let (interpreter, mut waiting) = needed(program)?;
    let interpreter = interpreter.map(PathBuf::from);
    let mut libraries = BTreeSet::new();
    if let Some(inside) = &interpreter {
        let source = sources.join(inside.file_name().unwrap_or_default());
        libraries.insert(Library { source, inside: inside.clone() });
    }
    while let Some(name) = waiting.pop() {
        let source = sources.join(&name);
        let is_interpreter = interpreter.as_ref().is_some_and(|path| path.ends_with(&name));
        if is_interpreter || !libraries.insert(Library { source: source.clone(), inside: own.join(&name) }) {
            continue;
        }
        ensure!(
            source.is_file(),
            "{} needs {name}, which is not in {}",
            program.display(),
            sources.display()
        );
        waiting.extend(needed(&source)?.1);
    }
    Ok(libraries.into_iter().collect())
}

/// The interpreter that a program asks for, and the libraries.
fn needed(file: &Path) -> Result<(Option<String>, Vec<String>)> {
    let mut readelf = Command::new("readelf");
    readelf.env("LC_ALL", "C").args(["--wide", "--dynamic", "--program-headers"]).arg(file);
    let output = readelf.output().context("cannot start readelf")?;
    ensure!(
        output.status.success(),
        "readelf {} failed: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(parse_needed(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_needed(output: &str) -> (Option<String>, Vec<String>) {
    let after = |line: &str, words: &str| {
        let rest = line.split_once(words)?.1;
        Some(rest.split(']').next()?.to_owned())
    };
    let interpreter = output.lines().find_map(|line| after(line, "[Requesting program interpreter: "));
    let needed = output.lines().filter_map(|line| after(line, "(NEEDED)             Shared library: ["));
    (interpreter, needed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_lines_become_paths() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f1)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parse(output).unwrap(), expected.map(PathBuf::from));
        assert!(parse("\tstatically linked\n").unwrap().is_empty());
        for (missing, line) in [
            ("libcuda.so.1", "\tlibcuda.so.1 => not found\n"),
            ("GLIBC_2.38", "/a/b: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /a/b)\n"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn this_program_has_an_interpreter() {
        let paths = of(&std::env::current_exe().unwrap(), Architecture::NATIVE).unwrap();
        assert!(paths.iter().any(|path| path.inside.to_string_lossy().contains("ld-linux")), "{paths:?}");
    }

    /// Read as a foreign one, a program of this machine names what `ldd` finds.
    #[test]
    fn what_a_program_names_is_what_is_found() {
        let program = std::env::current_exe().unwrap();
        let (interpreter, named) = needed(&program).unwrap();
        let found = native(&program).unwrap();
        assert!(interpreter.is_some_and(|path| found.contains(&PathBuf::from(path))));
        assert!(!named.is_empty());
        for name in named {
            assert!(found.iter().any(|path| path.ends_with(&name)), "{name} {found:?}");
        }
    }
}
