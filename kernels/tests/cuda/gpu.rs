//! The GPU of these tests: the machine's own where OSTRO_REAL_GPU is set, else an emulated one.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ostro_kernels::cuda::{Cuda, gpus};

use crate::emulator::{self, NO_COMPILER, is_real};
use crate::skipped;

/// `None`, with a reason printed, where there is neither a GPU nor a compiler for an emulated one.
///
/// # Panics
/// The emulator does not compile or load, or is not found.
pub(crate) fn cuda() -> Option<Cuda> {
    static IS_LOADED: OnceLock<bool> = OnceLock::new();
    if !is_real() && !IS_LOADED.get_or_init(|| emulator::load(&sources())) {
        skipped::tell(NO_COMPILER);
        return None;
    }
    match gpus() {
        Ok(gpus) => Some(Cuda::new(gpus.usable.into_iter().next().unwrap()).unwrap()),
        Err(reason) => {
            assert!(is_real(), "the emulated GPU is not found: {reason}");
            skipped::tell(reason);
            None
        }
    }
}

/// Builds it; `--test` runs its own tests too.
pub(crate) fn build_emulator(flags: &[&str]) -> Option<PathBuf> {
    emulator::build(&sources(), flags)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/emulator")
}

/// Whether the process is one of those.
pub(crate) fn is_emulated_hopper() -> bool {
    !is_real() && std::env::var("OSTRO_FAKE_CUDA_CC").is_ok_and(|capability| capability == "90")
}
