//! A GPU for tests: the machine's own, else the emulated driver, built once into the target folder.
#![allow(unreachable_pub)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ostro_engine::device;

#[path = "../../../../kernels/tests/cuda/emulator.rs"]
mod emulator;

pub(crate) use emulator::run_on;
use emulator::{NO_COMPILER, is_real};

use crate::models::skipped;

/// Whether there is a GPU, real or emulated; if not, says why.
///
/// # Panics
/// The emulated driver does not compile or load, or is not found.
pub fn gpu() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if !is_real() && !emulator::load(&sources()) {
            skipped::tell(NO_COMPILER);
            return false;
        }
        match device::gpus() {
            Ok(_) => true,
            Err(reason) => {
                assert!(is_real(), "the emulated GPU is not found: {reason}");
                skipped::tell(reason);
                false
            }
        }
    })
}

/// Whether this test run is about the emulated GPU that every machine has, and not the process of another test.
pub fn is_plain() -> bool {
    ["OSTRO_REAL_GPU", "OSTRO_FAKE_CUDA_CC"].iter().all(|name| std::env::var_os(name).is_none())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/emulator")
}
