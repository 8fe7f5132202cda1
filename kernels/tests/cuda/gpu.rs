//! The GPU of these tests: the machine's own where OSTRO_REAL_GPU is set, else an emulated one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ostro_kernels::cuda::{Cuda, gpus};

pub(crate) fn is_real() -> bool {
    std::env::var_os("OSTRO_REAL_GPU").is_some()
}

/// `None`, with a reason printed, where there is neither a GPU nor an emulated one.
pub(crate) fn cuda() -> Option<Cuda> {
    static EMULATOR: OnceLock<Result<(), String>> = OnceLock::new();
    if !is_real()
        && let Err(reason) = EMULATOR.get_or_init(load_emulator)
    {
        println!("skipped: no emulated GPU, {reason}");
        return None;
    }
    match gpus() {
        Ok(gpus) => Some(Cuda::new(gpus.usable.into_iter().next().unwrap()).unwrap()),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

fn load_emulator() -> Result<(), String> {
    let library = build_emulator(&[])?.join("libcuda.so.1");
    // SAFETY: our own library; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(library) }.map_err(|error| error.to_string())?;
    std::mem::forget(library);
    Ok(())
}

/// The folder that it is in; `--test` runs its own tests too.
pub(crate) fn build_emulator(flags: &[&str]) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/emulator/build.sh");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let built =
        Command::new("sh").arg(script).arg(&out).args(flags).output().map_err(|error| error.to_string())?;
    match built.status.success() {
        true => Ok(out),
        false => Err(String::from_utf8_lossy(&[built.stdout, built.stderr].concat()).into_owned()),
    }
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
