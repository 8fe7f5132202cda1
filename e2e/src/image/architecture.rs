//! The processors that images are for, and the tools that make programs for each.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// As Go and OCI call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// Of this machine.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As the compilers call it.
    pub(super) fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Its number in the head of programs (`e_machine`).
    pub(super) fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }

    /// As Rust calls it.
    pub(super) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }

    /// As GNU's tools and Debian's folders have it.
    fn triplet(self) -> String {
        format!("{}-linux-gnu", self.processor())
    }

    /// One of GNU's tools for it.
    pub(super) fn tool(self, name: &str) -> String {
        match self == Self::NATIVE {
            true => name.to_owned(),
            false => format!("{}-{name}", self.triplet()),
        }
    }

    /// Where a machine of another kind has its C library.
    pub(super) fn foreign_libraries(self) -> PathBuf {
        Path::new("/usr").join(self.triplet()).join("lib")
    }

    /// Where its own programs look for libraries.
    pub(super) fn own_libraries(self) -> PathBuf {
        Path::new("/lib").join(self.triplet())
    }

    /// Has `cargo` build for it.
    ///
    /// # Errors
    /// The compiler for it is not there.
    pub(super) fn set(self, command: &mut Command) -> Result<()> {
        if self == Self::NATIVE {
            return Ok(());
        }
        let compiler = self.tool("gcc");
        if Command::new(&compiler).arg("--version").output().is_err() {
            let (target, debian) = (self.target(), self.processor().replace('_', "-"));
            bail!(
                "programs for {} need {compiler}: apt-get install gcc-{debian}-linux-gnu libc6-dev-{}-cross, and \
                 rustup target add {target}",
                self.name(),
                self.name()
            );
        }
        let target = self.target();
        let words = target.replace('-', "_");
        command.args(["--target", &target]);
        command.env(format!("CARGO_TARGET_{}_LINKER", words.to_uppercase()), &compiler);
        command.env(format!("CC_{words}"), &compiler);
        Ok(())
    }
}
