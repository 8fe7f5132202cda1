//! The emulated driver (kernels/cuda/emulator) as tests of GPUs take it, here and in the engine: built, loaded, and as a Hopper.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Why tests have no GPU then.
pub(crate) const NO_COMPILER: &str = "there is no g++ to build the emulated GPU with";

/// Whether tests are to take the machine's own GPU.
pub(crate) fn is_real() -> bool {
    std::env::var_os("OSTRO_REAL_GPU").is_some()
}

/// Whether there is a compiler for it. A library that is loaded is found by its name from then on. `sources` is its folder.
///
/// # Panics
/// It does not compile or load.
pub(crate) fn load(sources: &Path) -> bool {
    let Some(folder) = build(sources, &[]) else { return false };
    // SAFETY: our own library; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(folder.join("libcuda.so.1")) }.unwrap();
    std::mem::forget(library);
    true
}

/// The folder that it is in, `None` where there is no compiler; `--test` runs its own tests too.
///
/// # Panics
/// It does not compile, or its tests fail.
pub(crate) fn build(sources: &Path, flags: &[&str]) -> Option<PathBuf> {
    if Command::new("g++").arg("--version").output().is_err() {
        return None;
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let built = Command::new("sh").arg(sources.join("build.sh")).arg(&out).args(flags).output().unwrap();
    let printed = [built.stdout, built.stderr].concat();
    assert!(built.status.success(), "the emulated GPU: {}", String::from_utf8_lossy(&printed));
    Some(out)
}

/// Runs one of these tests in a process of its own, whose emulated GPU has this compute capability (`90` is a Hopper),
/// and gives what it printed. `order` is that of its threads.
pub(crate) fn run_on(capability: &str, test: &str, order: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env_remove("OSTRO_REAL_GPU");
    command.env("OSTRO_FAKE_CUDA_CC", capability).env("OSTRO_FAKE_CUDA_ORDER", order);
    let ended = command.env("OSTRO_FAKE_CUDA_TRACE", "1").output().unwrap();
    let printed = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    let last = printed.len().saturating_sub(4000);
    assert!(
        ended.status.success(),
        "{test} on {capability}, {order}: {}",
        &printed[printed.ceil_char_boundary(last)..]
    );
    assert!(printed.contains("1 passed"), "{test} is not a test: {printed}");
    printed
}
