//! Builds the programs from the Go module proxy, once, outside the checkout.
//!
//! Each module's programs arrive whole in a folder named by version and recipe, or not at all. `bin` holds links to
//! those of the present versions.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::folders::Folders;
use super::modules::{GO_MOD, GO_SUM, Module};
use super::progress::{self, Spinner};

/// Whether all programs of `modules` are there.
pub(super) fn is_built(folders: &Folders, modules: &[&Module]) -> bool {
    modules.iter().all(|module| folder_of(folders, module).is_dir())
}

/// A module's program; there once it is built.
pub(super) fn program(folders: &Folders, module: &Module, name: &str) -> PathBuf {
    folder_of(folders, module).join(name)
}

/// Builds what is missing and refreshes the links in `bin`.
///
/// # Errors
/// Go is missing or too old, or a build fails: the message names its log.
pub(super) fn ensure(folders: &Folders, modules: &[&Module]) -> Result<()> {
    if !is_built(folders, modules) {
        let _lock = folders.lock_programs()?;
        check_go(&go_version()?)?;
        // Asked again: another command may have built it while this one waited.
        for module in modules.iter().filter(|module| !folder_of(folders, module).is_dir()) {
            build(folders, module)?;
        }
    }
    std::fs::create_dir_all(folders.bin())?;
    for module in modules {
        for (name, _) in module.programs {
            link(&program(folders, module, name), &folders.bin().join(name))?;
        }
    }
    Ok(())
}

fn folder_of(folders: &Folders, module: &Module) -> PathBuf {
    folders.programs().join(module.key())
}

/// Replaces the link at once: another cluster may be using it.
fn link(program: &Path, link: &Path) -> Result<()> {
    if std::fs::read_link(link).is_ok_and(|target| target == program) {
        return Ok(());
    }
    let new = link.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(program, &new)?;
    std::fs::rename(&new, link).with_context(|| format!("cannot link {}", link.display()))
}

/// In a temporary folder beside the final one, renamed at the end.
fn build(folders: &Folders, module: &Module) -> Result<()> {
    std::fs::create_dir_all(folders.programs())?;
    let staging = TempDir::new_in(folders.programs())?;
    let (source, out) = (staging.path().join("source"), staging.path().join("out"));
    std::fs::create_dir_all(&source)?;
    std::fs::create_dir_all(&out)?;
    std::fs::write(source.join("go.mod"), GO_MOD)?;
    std::fs::write(source.join("go.sum"), GO_SUM)?;
    if let Some(main) = module.main {
        std::fs::create_dir(source.join(module.name))?;
        std::fs::write(source.join(module.name).join("main.go"), main)?;
    }
    let log = folders.root.join("logs").join(format!("build-{}.log", module.name));
    run_logged(&mut go_build(module, &source, &out), module, &log)?;
    for (name, _) in module.programs {
        anyhow::ensure!(out.join(name).is_file(), "the build of {} has made no {name}", module.name);
    }
    std::fs::rename(&out, folder_of(folders, module))?;
    Ok(())
}

fn go_build(module: &Module, source: &Path, out: &Path) -> Command {
    let mut command = Command::new("go");
    // The user's proxy and checksum settings stay; what shapes the result does not.
    command
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "auto") // images with Go in them forbid it to fetch the version that is asked for
        .env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false")
        .args(["build", "-v", "-tags", module.tags, "-ldflags", &module.link_flags(), "-o"]);
    match module.programs {
        // Go would name etcd's program after its folder.
        [(name, _)] => command.arg(out.join(name)),
        _ => command.arg(format!("{}/", out.display())),
    };
    command.args(module.programs.iter().map(|(_, package)| package));
    command
}

/// Runs to its end; the lines that it writes go to `log`, and their number is shown.
fn run_logged(command: &mut Command, module: &Module, log: &Path) -> Result<()> {
    let what = format!("{} {}", module.name, module.version());
    std::fs::create_dir_all(log.parent().context("a log has a folder")?)?;
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let spinner = Spinner::start(format!("building {what}"));
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start go")?;
    let lines = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
    let mut packages = 0;
    for line in lines.map_while(Result::ok) {
        writeln!(file, "{line}")?;
        // Beside packages, `go` tells of downloads.
        packages += u32::from(!line.starts_with("go: "));
        spinner.tell(format!("building {what}: {packages} packages"));
    }
    let status = child.wait()?;
    spinner.end();
    if !status.success() {
        bail!("the build of {what} ended with {status}; {}", progress::end_of(log));
    }
    eprintln!("built {what} in {}", progress::text(start.elapsed()));
    Ok(())
}

fn go_version() -> Result<String> {
    let output = Command::new("go").arg("version").output();
    let output = output
        .with_context(|| format!("the cluster's programs are built with Go, which is missing; {GET_GO}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const GET_GO: &str = "get 1.21 or newer from https://go.dev/dl and put its bin folder on PATH";

/// From 1.21 on, Go fetches the version that a module asks for by itself.
fn check_go(version: &str) -> Result<()> {
    let number = version.split_whitespace().find_map(|word| word.strip_prefix("go1."));
    let minor: Option<u32> = number.and_then(|rest| rest.split(['.', 'r', 'b']).next()?.parse().ok());
    if minor.is_none_or(|minor| minor < 21) {
        bail!("the cluster's programs cannot be built with {:?}; {GET_GO}", version.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::modules::{ETCD, KUBERNETES};

    #[test]
    fn go_must_be_able_to_fetch_its_successor() {
        for good in
            ["go version go1.26.8 linux/amd64", "go version go1.21 linux/arm64", "go version go1.27rc1 x/y"]
        {
            check_go(good).unwrap();
        }
        for bad in ["go version go1.19.8 linux/amd64", "", "gccgo"] {
            assert!(check_go(bad).unwrap_err().to_string().contains("go.dev/dl"), "{bad}");
        }
    }

    #[test]
    fn a_build_takes_nothing_that_is_not_pinned() {
        let command = go_build(&ETCD, Path::new("/s"), Path::new("/o"));
        let flags = command.get_envs().find(|(name, _)| *name == "GOFLAGS").unwrap().1.unwrap();
        assert!(flags.to_string_lossy().contains("-mod=readonly"));
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        assert!(
            arguments.ends_with(&["/o/etcd".into(), "go.etcd.io/etcd/server/v3".into()]),
            "{arguments:?}"
        );
        let arguments: Vec<_> = go_build(&KUBERNETES, Path::new("/s"), Path::new("/o"))
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert!(arguments.contains(&"/o/".to_owned()), "{arguments:?}");
    }

    #[test]
    fn a_link_is_replaced() {
        let folder = TempDir::new().unwrap();
        let at = folder.path().join("kubectl");
        for target in ["old/kubectl", "new/kubectl", "new/kubectl"] {
            link(Path::new(target), &at).unwrap();
            assert_eq!(std::fs::read_link(&at).unwrap(), Path::new(target));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
