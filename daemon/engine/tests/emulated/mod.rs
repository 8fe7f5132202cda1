//! A GPU for tests: the machine's own, else the emulated driver, built once into the target folder.
#![allow(unreachable_pub)]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use ostro_engine::device;

const HOPPER: &str = "90";

/// Whether there is a GPU, real or emulated; if not, says why.
///
/// # Panics
/// The emulated driver does not compile or load, or is not found.
pub fn gpu() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if !is_real() && !load_emulator() {
            println!("skipped: there is no g++ to build the emulated GPU with");
            return false;
        }
        match device::gpus() {
            Ok(_) => true,
            Err(reason) => {
                assert!(is_real(), "the emulated GPU is not found: {reason}");
                println!("skipped: {reason}");
                false
            }
        }
    })
}

/// Runs a test of this program in a process of its own, whose emulated GPU is a Hopper, and gives what it printed: its
/// launches too. `order` is that of the GPU's threads.
pub fn run_on_hopper(test: &str, order: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env("OSTRO_FAKE_CUDA_TRACE", "1");
    let ended =
        command.env("OSTRO_FAKE_CUDA_CC", HOPPER).env("OSTRO_FAKE_CUDA_ORDER", order).output().unwrap();
    let printed = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    let last = printed.ceil_char_boundary(printed.len().saturating_sub(4000));
    assert!(ended.status.success(), "{test} on Hopper, {order}: {}", &printed[last..]);
    assert!(printed.contains("1 passed"), "{test} is not a test: {printed}");
    printed
}

/// Whether this test run is about the emulated GPU that every machine has, and not the process of another test.
pub fn is_plain() -> bool {
    ["OSTRO_REAL_GPU", "OSTRO_FAKE_CUDA_CC"].iter().all(|name| std::env::var_os(name).is_none())
}

fn is_real() -> bool {
    std::env::var_os("OSTRO_REAL_GPU").is_some()
}

/// Whether there is a compiler for it. A library that is loaded is found by its name from then on.
fn load_emulator() -> bool {
    if Command::new("g++").arg("--version").output().is_err() {
        return false;
    }
    let emulator = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/emulator");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let built = Command::new("sh").arg(emulator.join("build.sh")).arg(&out).output().unwrap();
    assert!(built.status.success(), "the emulated GPU: {}", String::from_utf8_lossy(&built.stderr));
    // SAFETY: our own library; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(out.join("libcuda.so.1")) }.unwrap();
    std::mem::forget(library);
    true
}
