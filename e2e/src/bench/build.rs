//! Builds llama.cpp for this machine, with OpenMP and with its own threads. Minutes, once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::processor::Processor;
use crate::cache;
use crate::download::hex;
use crate::process::run;

/// How its threads wait for each other decides a third of its speed; which is better differs by machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threading {
    OpenMp,
    Own,
}

#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) threading: Threading,
    /// Where its programs are.
    pub(super) programs: PathBuf,
}

const PROGRAMS: [&str; 3] = ["llama-bench", "llama-batched-bench", "llama-server"];

const OPTIONS: [&str; 8] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
];

impl Threading {
    pub(super) const ALL: [Threading; 2] = [Threading::Own, Threading::OpenMp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Threading::OpenMp => "GGML_OPENMP=ON",
            Threading::Own => "GGML_OPENMP=OFF",
        }
    }
}

/// For the page.
pub(super) fn describe() -> String {
    format!("clang-19, {}", OPTIONS.join(" "))
}

impl Build {
    /// Does nothing when it is built already.
    pub(super) fn ensure(
        sources: &Path,
        version: &str,
        threading: Threading,
        processor: &Processor,
    ) -> Result<Build> {
        let folder = cache::root()?.join("peers").join(folder_name(version, threading, processor));
        let complete = folder.join(".complete");
        let build = Build { threading, programs: folder.join("bin") };
        if complete.is_file() {
            return Ok(build);
        }
        eprintln!("building llama.cpp with {} in {}; this takes minutes", threading.name(), folder.display());
        let mut configure = Command::new("cmake");
        configure.env("CC", "clang-19").env("CXX", "clang++-19").args(["-G", "Ninja", "-S"]).arg(sources);
        run(configure.arg("-B").arg(&folder).args(OPTIONS).arg(format!("-D{}", threading.name())))?;
        run(Command::new("cmake").arg("--build").arg(&folder).arg("--target").args(PROGRAMS))?;
        std::fs::write(&complete, b"").context("cannot mark the build as complete")?;
        Ok(build)
    }

    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        // Huge pages for what it allocates; `-lm none` keeps the weights out of the mapped file.
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
        command
    }
}

/// By all that it is made of: `GGML_NATIVE` takes the instruction sets of the processor that builds it.
fn folder_name(version: &str, threading: Threading, processor: &Processor) -> String {
    let threads = match threading {
        Threading::OpenMp => "openmp",
        Threading::Own => "own-threads",
    };
    let digest = Sha256::digest(format!("{}, {}", describe(), processor.name_and_flags()));
    format!("llama.cpp-{version}-{threads}-{}", hex(&digest[..4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_of_another_processor_is_another() {
        let name = |threading, flags: &str| {
            let processor = Processor::parse(&format!("model name\t: X 1\nflags\t\t: {flags}\n"));
            folder_name("1.2", threading, &processor)
        };
        let here = name(Threading::Own, "fpu avx2");
        assert!(here.starts_with("llama.cpp-1.2-own-threads-"), "{here}");
        assert_eq!(here, name(Threading::Own, "fpu avx2"));
        assert_ne!(here, name(Threading::Own, "fpu avx2 avx512f"));
        assert_ne!(here, name(Threading::OpenMp, "fpu avx2"));
    }
}
