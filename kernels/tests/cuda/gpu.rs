//! The GPU of these tests: the machine's own where OSTRO_REAL_GPU is set, else an emulated one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ostro_kernels::cuda::{Cuda, gpus};

/// What tests print that have no GPU because of it.
pub(crate) const NO_COMPILER: &str = "skipped: there is no g++ to build the emulated GPU with";

pub(crate) fn is_real() -> bool {
    std::env::var_os("OSTRO_REAL_GPU").is_some()
}

/// `None`, with a reason printed, where there is neither a GPU nor a compiler for an emulated one.
///
/// # Panics
/// The emulator does not compile or load, or is not found.
pub(crate) fn cuda() -> Option<Cuda> {
    static IS_LOADED: OnceLock<bool> = OnceLock::new();
    if !is_real() && !IS_LOADED.get_or_init(load_emulator) {
        println!("{NO_COMPILER}");
        return None;
    }
    match gpus() {
        Ok(gpus) => Some(Cuda::new(gpus.usable.into_iter().next().unwrap()).unwrap()),
        Err(reason) => {
            assert!(is_real(), "the emulated GPU is not found: {reason}");
            println!("skipped: {reason}");
            None
        }
    }
}

/// Whether there is a compiler for it.
fn load_emulator() -> bool {
    let Some(folder) = build_emulator(&[]) else { return false };
    // SAFETY: our own library; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(folder.join("libcuda.so.1")) }.unwrap();
    std::mem::forget(library);
    true
}

/// The folder that it is in, `None` where there is no compiler; `--test` runs its own tests too.
///
/// # Panics
/// It does not compile, or its tests fail.
pub(crate) fn build_emulator(flags: &[&str]) -> Option<PathBuf> {
    if Command::new("g++").arg("--version").output().is_err() {
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/emulator/build.sh");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let built = Command::new("sh").arg(script).arg(&out).args(flags).output().unwrap();
    let printed = [built.stdout, built.stderr].concat();
    assert!(built.status.success(), "the emulated GPU: {}", String::from_utf8_lossy(&printed));
    Some(out)
}

/// Runs one of these tests in a process of its own, whose emulated GPU is a Hopper, and gives what it printed. `order`
/// is that of its threads.
pub(crate) fn run_on_hopper(test: &str, order: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env_remove("OSTRO_REAL_GPU");
    command.env("OSTRO_FAKE_CUDA_CC", "90").env("OSTRO_FAKE_CUDA_ORDER", order);
    let ended = command.env("OSTRO_FAKE_CUDA_TRACE", "1").output().unwrap();
    let printed = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    let last = printed.len().saturating_sub(4000);
    assert!(
        ended.status.success(),
        "{test} on Hopper, {order}: {}",
        &printed[printed.ceil_char_boundary(last)..]
    );
    assert!(printed.contains("1 passed"), "{test} is not a test: {printed}");
    printed
}

/// Whether the process is one of those.
pub(crate) fn is_emulated_hopper() -> bool {
    !is_real() && std::env::var("OSTRO_FAKE_CUDA_CC").is_ok_and(|capability| capability == "90")
}
