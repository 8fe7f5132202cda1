//! Debian's packages: which are missing, and installing them as the set-up script does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::run;

/// A program, by its name or by its whole path, and the package that has it.
pub(crate) type Needed = (&'static str, &'static str);

/// The packages whose program is not there; none twice.
pub(crate) fn missing(needed: &[Needed]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        needed.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// What a person types to get them.
pub(crate) fn install_line(packages: &[&str]) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// Does nothing for an empty list; asks for a password where the user is not root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", packages.join(" "));
    let apt = || match is_root() {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        }
    };
    run(apt().args(["update", "-q"]))?;
    run(apt().args(["install", "-yq", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("install {} yourself", packages.join(" ")))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A user's PATH often lacks the folders of root's programs.
fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_missing_programs_are_named_once() {
        let needed = [("sh", "dash"), ("no-such-b", "two"), ("no-such-a", "two"), ("/no/such/c", "one")];
        assert_eq!(missing(&needed), ["one", "two"]);
        assert!(
            install_line(&["one", "two"]).ends_with("apt-get install -y --no-install-recommends one two")
        );
        install(&[]).unwrap();
    }
}
