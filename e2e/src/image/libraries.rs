//! The shared libraries that a program needs in an otherwise empty image.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The program's interpreter and libraries, as `ldd` finds them on this machine; none for a static program.
///
/// # Errors
/// `ldd` is missing, or does not find a library.
pub(super) fn of(program: &Path) -> Result<Vec<PathBuf>> {
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
        let paths = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(paths.iter().any(|path| path.to_string_lossy().contains("ld-linux")), "{paths:?}");
    }
}
