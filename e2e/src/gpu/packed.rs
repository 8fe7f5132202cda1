//! Where things are in a packed folder, for `gpu pack` that writes it and `gpu check` that reads it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The daemon, examples and test binaries of the engine, and a test binary of the kernels.
pub(super) const PROGRAMS: [&str; 8] =
    ["ostro", "random_model", "tiny_model", "mixed_load", "bench", "golden", "cuda", "kernels_cuda"];

/// This tool itself.
pub(super) const TOOL: &str = "ostro-e2e";

#[derive(Clone, Debug)]
pub(super) struct Packed {
    folder: PathBuf,
}

impl Packed {
    pub(super) fn new(folder: &Path) -> Packed {
        Packed { folder: folder.to_owned() }
    }

    /// # Errors
    /// Nothing was packed in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Packed> {
        let packed = Packed { folder: std::path::absolute(folder)? };
        let whole = PROGRAMS.iter().all(|name| packed.program(name).is_file());
        ensure!(whole, "{} was not written by ostro-e2e gpu pack", folder.display());
        Ok(packed)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    pub(super) fn goldens(&self) -> PathBuf {
        self.folder.join("golden")
    }

    /// In place of the user's cache folder (`XDG_CACHE_HOME`).
    pub(super) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// What `git describe` said.
    pub(super) fn revision(&self) -> PathBuf {
        self.folder.join("revision")
    }
}

/// Where the test binaries look for golden answers, on whichever machine they run: in the checkout of their build.
pub(super) fn goldens_of_the_build() -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR"));
    tool.parent().unwrap_or(tool).join("daemon/engine/tests/golden")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_not_packed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Packed::open(folder.path()).unwrap_err().to_string().contains("gpu pack"));
        assert!(goldens_of_the_build().join("smollm2-135m-instruct.json").is_file());
    }
}
