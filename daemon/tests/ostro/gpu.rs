//! `ostro` and the CUDA driver: what it does where there is none, one that is of no use, and one that works or fails.
//!
//! The driver is the emulated one (kernels/cuda/emulator), whose faults the environment chooses; needs g++.

mod device;
mod found;
mod memory;
mod refusals;
mod required;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::skipped;
use crate::support::running::{CHAT, Running};
use crate::support::{Ended, Home};

const GPU: &str = "Ostro emulated GPU 0";
/// On standard error, with `-v`, once a model is loaded.
const PLACED: &str = "placed model=\"tiny.gguf\" device=";

/// A folder with a tiny model and the emulated driver.
struct Machine {
    home: Home,
    driver: &'static Path,
    faults: Vec<(&'static str, String)>,
}

impl Machine {
    /// `None` where the driver cannot be built, which is told.
    fn new(faults: &[(&'static str, &str)]) -> Option<Machine> {
        let driver = driver()?;
        let home = Home::new();
        home.tiny_model();
        let faults = faults.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Some(Machine { home, driver, faults })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        command.env("LD_LIBRARY_PATH", self.driver).envs(self.faults.iter().cloned());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(&self.home, &self.command(arguments), "")
    }

    /// The most likely answer to `hello`, and what was logged.
    fn answer(&self, flags: &[&str]) -> Ended {
        let arguments = [&["run", "-m", "tiny.gguf", "--max-tokens", "4", "-v"], flags].concat();
        let ended = ended(&self.home, &self.command(&arguments), "/temperature 0\nhello\n");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.output.is_empty(), "{ended:?}");
        ended
    }

    /// The doctor's word on GPUs.
    fn doctor(&self) -> Vec<String> {
        let ended = self.run(&["doctor"]);
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{ended:?}");
        ended.output.lines().filter(|line| line[9..].starts_with("gpu ")).map(str::to_owned).collect()
    }
}

/// Runs the command; one that hangs is ended with code 124.
fn ended(home: &Home, command: &Command, input: &str) -> Ended {
    let mut limited = home.command_of("timeout", &["120"]);
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let input = home.write("input", input);
    limited.stdin(std::fs::File::open(input).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ended::from(limited.output().unwrap())
}

/// The folder of the emulated driver, built once.
fn driver() -> Option<&'static Path> {
    static DRIVER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let driver = DRIVER.get_or_init(|| {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/cuda/emulator/build.sh");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
        if Command::new("g++").arg("--version").output().is_err() {
            skipped::tell("there is no g++ to build the emulated driver with");
            return None;
        }
        let built = Command::new("sh").arg(build).arg(&out).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(out)
    });
    driver.as_deref()
}

#[test]
fn machine_without_a_driver_runs_models_on_the_cpu() {
    if Path::new("/proc/driver/nvidia/version").exists() {
        skipped::tell("this machine has a driver");
        return;
    }
    let home = Home::new();
    home.tiny_model();
    let doctor = home.run(&["doctor"]);
    let expected = "ok       gpu        no GPU: no NVIDIA driver (libcuda.so.1) is installed here";
    assert!(doctor.code == Some(0) && doctor.output.contains(expected), "{doctor:?}");
    let ended = home.run(&["run", "-m", "tiny.gguf", "-i", "hello", "--max-tokens", "4"]);
    assert_eq!((ended.code, ended.errors.contains("WARN")), (Some(0), false), "{ended:?}");
}

/// A driver without a GPU that can be used: the doctor says `expected`, and a model runs on the CPU.
fn check_left(faults: &[(&'static str, &str)], expected: &str) {
    let Some(machine) = Machine::new(faults) else { return };
    let doctor = machine.doctor();
    assert!(doctor.len() == 1 && doctor[0].starts_with(expected), "{doctor:?}");
    let answer = machine.answer(&[]);
    let placed = answer.errors.lines().find(|line| line.contains(PLACED)).unwrap();
    assert!(!placed.contains("emulated"), "{placed}");
    // Only what is there and cannot be used is worth a warning.
    match expected.split_once("the GPU cannot be used: ") {
        Some((_, reason)) => {
            let warning = format!("running on the CPU, since the GPU cannot be used: {reason}");
            assert!(answer.errors.contains(&warning), "{answer:?}");
        }
        None => assert!(!answer.errors.contains("WARN"), "{answer:?}"),
    }
    assert_eq!(answer.output, machine.answer(&["--cpu"]).output);
}

#[test]
fn driver_without_a_gpu_is_nothing_wrong() {
    check_left(
        &[("OSTRO_FAKE_CUDA", "no-device")],
        "ok       gpu        no GPU: the NVIDIA driver finds no GPU",
    );
}

#[test]
fn what_cannot_be_used_is_told_and_left() {
    let unusable = |reason: &str| format!("warning  gpu        the GPU cannot be used: {reason}");
    check_left(
        &[("OSTRO_FAKE_CUDA", "old-driver")],
        &unusable("the NVIDIA driver knows CUDA 11.4, at least 12.0 (driver 525) is needed"),
    );
    check_left(
        &[("OSTRO_FAKE_CUDA_CC", "75")],
        &unusable("Ostro emulated GPU 0 has compute capability 7.5, at least 8.0 is needed"),
    );
    check_left(
        &[("OSTRO_FAKE_CUDA", "unknown")],
        &unusable("the NVIDIA driver failed: unknown error (CUDA_ERROR_UNKNOWN)"),
    );
}

#[test]
fn gpu_answers_as_the_cpu_does_and_is_named() {
    let Some(machine) = Machine::new(&[]) else { return };
    let doctor = machine.doctor();
    let expected = "ok       gpu        0: Ostro emulated GPU 0, compute capability 8.0, 2.0 GiB, of it 2.0 GiB free, driver for CUDA 12.8, GPU-";
    assert!(doctor.len() == 1 && doctor[0].starts_with(expected), "{doctor:?}");
    let [gpu, cpu] = [&[][..], &["--cpu"]].map(|flags| machine.answer(flags));
    assert_eq!(gpu.output, cpu.output);
    assert!(gpu.errors.contains(&format!("{PLACED}\"{GPU}, compute capability 8.0\"")), "{gpu:?}");
    assert!(cpu.errors.contains(PLACED) && !cpu.errors.contains(GPU), "{cpu:?}");
    machine.home.write(
        "a.toml",
        "command = \"run\"\n[[models]]\nmodel_id = \"tiny.gguf\"\ndevice = { cpu = true, max_seq_len = 64 }\n",
    );
    let by_file = machine.run(&["from-config", "-f", "a.toml", "-v"]);
    assert!(by_file.code == Some(0) && by_file.errors.contains(PLACED), "{by_file:?}");
    assert!(!by_file.errors.contains(GPU), "{by_file:?}");
}

/// Such GPUs give a block the least shared memory of all that are supported.
#[test]
fn gpu_with_little_shared_memory_answers_as_the_cpu_does() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA_CC", "89")]) else { return };
    let [gpu, cpu] = [&[][..], &["--cpu"]].map(|flags| machine.answer(flags));
    assert!(gpu.errors.contains(&format!("{PLACED}\"{GPU}, compute capability 8.9\"")), "{gpu:?}");
    assert_eq!(gpu.output, cpu.output);
}

#[test]
fn first_of_two_gpus_is_used() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA", "two-devices")]) else { return };
    let doctor = machine.doctor();
    let [first, second] = &doctor[..] else { panic!("{doctor:?}") };
    assert!(first.contains(" 0: ") && !first.contains("not used"), "{first}");
    assert!(second.contains(" 1: ") && second.ends_with("; not used"), "{second}");
    let errors = machine.answer(&[]).errors;
    assert!(errors.contains(&format!("{PLACED}\"{GPU}, ")), "{errors}");
}

#[test]
fn what_the_null_stream_does_late_spoils_no_answer() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA_NULL_STREAM", "late")]) else { return };
    let [gpu, cpu] = [&[][..], &["--cpu"]].map(|flags| machine.answer(flags));
    assert!(gpu.errors.contains(GPU), "{gpu:?}");
    assert_eq!(gpu.output, cpu.output);
}

/// A model does not load, with code 1 and all of `words`.
fn check_load(faults: &[(&'static str, &str)], flags: &[&str], words: &[&str]) {
    let Some(machine) = Machine::new(faults) else { return };
    let ended =
        machine.run(&[&["run", "-m", "tiny.gguf", "-i", "hello", "--max-tokens", "4"], flags].concat());
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.errors.starts_with("error: cannot load the model \"tiny.gguf\": "), "{ended:?}");
    assert!(words.iter().all(|word| ended.errors.contains(word)), "{words:?}: {ended:?}");
}

#[test]
fn model_that_does_not_fit_is_refused_by_numbers() {
    check_load(
        &[("OSTRO_FAKE_CUDA_MEMORY_MB", "0")],
        &[],
        &["the model needs 1 MiB, 0 MiB of the GPU's memory"],
    );
    check_load(
        &[("OSTRO_FAKE_CUDA_MEMORY_MB", "4")],
        &[],
        &["the model needs ", ", 4 MiB of the GPU's memory are available"],
    );
    // With what steps need beside the weights, this cache is too large.
    check_load(
        &[("OSTRO_FAKE_CUDA_MEMORY_MB", "64")],
        &["--pa-memory-mb", "60"],
        &["a key-value cache of 60 MiB beside a model of ", "but 64 MiB of the GPU's memory are available"],
    );
    // Another process took it meanwhile.
    check_load(
        &[("OSTRO_FAKE_CUDA_FAIL", "cuMemAlloc_v2:10:2")],
        &[],
        &["the GPU has no memory for ", "of 2048 MiB are free"],
    );
    let flags = ["--pa-memory-mb", "4096"];
    check_load(
        &[],
        &flags,
        &["--pa-memory-mb: paged_attn.memory_mb = 4096 asks for a key-value cache of 4096 MiB"],
    );
}

#[test]
fn kernels_that_the_driver_refuses_are_a_load_error() {
    let faults = [("OSTRO_FAKE_CUDA_FAIL", "cuModuleLoadData:1:218")];
    check_load(&faults, &[], &["cannot load kernels onto the GPU", "(CUDA_ERROR_INVALID_PTX)"]);
}

#[test]
fn cache_that_is_not_f16_needs_the_cpu() {
    let flags = ["--pa-cache-type", "bf16"];
    check_load(
        &[],
        &flags,
        &["Ostro emulated GPU 0 cannot run a key-value cache that is not f16", "`--cpu`"],
    );
    let Some(machine) = Machine::new(&[]) else { return };
    machine.answer(&[&flags[..], &["--cpu"]].concat());
}

/// Launches until a first token: of loading, and of the prompt's step.
fn launches(machine: &mut Machine) -> usize {
    machine.faults.push(("OSTRO_FAKE_CUDA_TRACE", "1".to_owned()));
    let ended = machine.run(&["run", "-m", "tiny.gguf", "-i", "hello", "--max-tokens", "1"]);
    machine.faults.pop();
    ended.errors.matches("grid (").count()
}

#[test]
fn gpu_that_fails_while_serving_fails_requests_and_hangs_none() {
    let Some(mut machine) = Machine::new(&[]) else { return };
    let launches = launches(&mut machine);
    assert!(launches > 20, "{launches}");
    // In the step of the prompt, and in one that decodes.
    for launch in [launches, launches + 10] {
        // Whichever of the two is used.
        let fault = format!("cuLaunchKernel:{launch}:700,cuLaunchKernelEx:{launch}:700");
        machine.faults = vec![("OSTRO_FAKE_CUDA_FAIL", fault)];
        let server = Running::of(machine.command(&["serve", "-m", "tiny.gguf"]));
        for _ in 0..3 {
            let (status, body) = server.request("POST", "/v1/chat/completions", CHAT);
            assert!((500..=503).contains(&status), "{status} {body}");
            assert!(body.contains("CUDA_ERROR_ILLEGAL_ADDRESS") && body.contains("server_error"), "{body}");
        }
        // A kernel that failed takes the GPU from this process: another one is wanted.
        assert_eq!(server.request("GET", "/health", "").0, 503);
        server.signal("TERM");
        let (code, log) = server.end();
        assert_eq!(code, Some(0), "{log}");
    }
}
