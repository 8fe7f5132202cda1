//! A GPU for tests: the machine's own, else the emulated driver, built once into the target folder.
#![allow(unreachable_pub)]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use ostro_engine::device;

/// Whether there is a GPU, real or emulated; if not, says why.
pub fn gpu() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if std::env::var_os("OSTRO_REAL_GPU").is_none()
            && let Err(reason) = load_emulator()
        {
            println!("skipped: no emulated GPU, {reason}");
            return false;
        }
        match device::gpus() {
            Ok(_) => true,
            Err(reason) => {
                println!("skipped: {reason}");
                false
            }
        }
    })
}

/// A library that is loaded is found by its name from then on.
fn load_emulator() -> Result<(), String> {
    let emulator = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/emulator");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let built =
        Command::new("sh").arg(emulator.join("build.sh")).arg(&out).output().map_err(|e| e.to_string())?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    // SAFETY: our own library; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(out.join("libcuda.so.1")) }.map_err(|e| e.to_string())?;
    std::mem::forget(library);
    Ok(())
}
