//! What tells on which GPU a model runs: the emulated driver beside a fake NVML.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{GPU, Machine, PLACED};
use crate::skipped;
use crate::support::running::{CHAT, Running};

/// Of the emulated driver's first GPU.
const UUID: &str = "GPU-6f737472-6f2d-6661-6b65-2d6770752d30";

impl Machine {
    /// With a `libnvidia-ml.so.1` whose first GPU is the driver's; `None` where there is no C compiler, which is told.
    fn with_nvml(faults: &[(&'static str, &str)]) -> Option<Machine> {
        let machine = Machine::new(faults)?;
        let folder = machine.home.folder.path();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/tests/server/fake_nvml.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC"])
            .arg(format!("-DFOLDER=\"{}\"", folder.display()))
            .arg(format!("-DFIRST_UUID=\"{UUID}\""))
            .arg("-o")
            .args([&folder.join("libnvidia-ml.so.1"), &source])
            .output();
        let Ok(built) = built else {
            skipped::tell("there is no `cc` to build a library with");
            return None;
        };
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(machine)
    }

    fn serve(&self, flags: &[&str]) -> Running {
        let mut command = self.command(&[&["serve", "-m", "tiny.gguf"], flags].concat());
        let folders = format!("{}:{}", self.driver.display(), self.home.folder.path().display());
        command.env("LD_LIBRARY_PATH", folders);
        Running::of(command)
    }
}

/// Lines of the metrics that begin so.
fn lines(server: &Running, prefix: &str) -> Vec<String> {
    let (status, text) = server.request("GET", "/metrics", "");
    assert_eq!(status, 200);
    text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

/// `/v1/models`' entry once it has this status.
fn card(server: &Running, status: &str) -> Value {
    let began = Instant::now();
    loop {
        let list: Value = serde_json::from_str(&server.request("GET", "/v1/models", "").1).unwrap();
        if list["data"][0]["status"] == status {
            return list["data"][0].clone();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{list}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn gpu_of_a_model_is_named_as_nvml_names_it() {
    let Some(machine) = Machine::with_nvml(&[]) else { return };
    let server = machine.serve(&[]);
    let card = card(&server, "loaded");
    assert_eq!(card["device"], json!({"type": "cuda", "name": GPU, "uuid": UUID}));
    let info = format!(
        "ostro_model_device_info{{model_name=\"tiny\",device=\"cuda\",uuid=\"{UUID}\",name=\"{GPU}\"}} 1"
    );
    assert_eq!(lines(&server, "ostro_model_device_info"), [info]);
    assert_eq!(lines(&server, "ostro_kv_cache_bytes{model_name=\"tiny\"}").len(), 1);
    let began = Instant::now();
    while lines(&server, &format!("ostro_gpu_memory_used_bytes{{uuid=\"{UUID}\",")).len() != 1 {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", lines(&server, "ostro_gpu_"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn model_that_lost_its_gpu_names_it_no_more() {
    let Some(mut machine) = Machine::with_nvml(&[]) else { return };
    let launches = super::launches(&mut machine);
    let fault = format!("cuLaunchKernel:{launches}:700,cuLaunchKernelEx:{launches}:700");
    machine.faults = vec![("OSTRO_FAKE_CUDA_FAIL", fault)];
    let server = machine.serve(&[]);
    card(&server, "loaded");
    assert_eq!(lines(&server, "ostro_model_device_info{").len(), 1);
    assert!(server.request("POST", "/v1/chat/completions", CHAT).0 >= 500);
    assert!(card(&server, "failed")["device"].is_null());
    assert_eq!(lines(&server, "ostro_model_device_info{"), [""; 0]);
    assert_eq!(lines(&server, "ostro_model_loaded{"), ["ostro_model_loaded{model_name=\"tiny\"} 0.0"]);
}

#[test]
fn model_on_the_cpu_beside_a_gpu_names_none() {
    let Some(machine) = Machine::with_nvml(&[]) else { return };
    let server = machine.serve(&["--cpu"]);
    let card = card(&server, "loaded");
    assert!(card["device"]["type"] == "cpu" && card["device"].get("uuid").is_none(), "{card}");
    let [info] = &lines(&server, "ostro_model_device_info{")[..] else { panic!("{card}") };
    assert!(info.contains(",device=\"cpu\",uuid=\"\",name=\""), "{info}");
}

#[test]
fn log_of_the_start_has_the_uuid() {
    let Some(machine) = Machine::new(&[]) else { return };
    let placed = |flags: &[&str]| {
        let errors = machine.answer(flags).errors;
        errors.lines().find(|line| line.contains(PLACED)).unwrap().to_owned()
    };
    let gpu = placed(&[]);
    assert!(gpu.contains(&format!(" uuid=\"{UUID}\" ")), "{gpu}");
    let cpu = placed(&["--cpu"]);
    assert!(!cpu.contains("uuid"), "{cpu}");
}

#[test]
fn instance_of_a_gpu_is_named_by_its_gpu() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA", "mig")]) else { return };
    let doctor = machine.doctor();
    assert!(doctor.len() == 1 && doctor[0].ends_with(UUID), "{doctor:?}");
}
