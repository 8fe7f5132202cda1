//! Models for which somebody asked for a GPU: by `OSTRO_REQUIRE_GPU`, or by the resources of a manifest.

use super::*;

const REQUIRED: (&str, &str) = ("OSTRO_REQUIRE_GPU", "1");
const NO_DEVICE: (&str, &str) = ("OSTRO_FAKE_CUDA", "no-device");

#[test]
fn model_that_needs_a_gpu_is_not_left_to_the_cpu() {
    const IN_PODS: &str = "; in a pod, see runtimeClassName, device plugin";
    const OTHERS: &str = "; nodes with other GPUs are wanted";
    for (fault, reason, remedy) in [
        (NO_DEVICE, "the NVIDIA driver finds no GPU", IN_PODS),
        (("OSTRO_FAKE_CUDA", "old-driver"), "the NVIDIA driver knows CUDA 11.4, at least 12.0 ", IN_PODS),
        (
            ("OSTRO_FAKE_CUDA_CC", "75"),
            "Ostro emulated GPU 0 has compute capability 7.5, at least 8.0 is needed",
            OTHERS,
        ),
        (
            ("OSTRO_FAKE_CUDA", "unknown"),
            "the NVIDIA driver failed: unknown error (CUDA_ERROR_UNKNOWN)",
            IN_PODS,
        ),
    ] {
        let said = format!("OSTRO_REQUIRE_GPU is set, but {reason}");
        check_load(&[REQUIRED, fault], &[], &[&said, remedy]);
    }
}

#[test]
fn machine_without_a_driver_runs_no_model_that_needs_a_gpu() {
    if Path::new("/proc/driver/nvidia/version").exists() {
        skipped::tell("this machine has a driver");
        return;
    }
    let home = Home::new();
    home.tiny_model();
    let mut command = home.command(&["run", "-m", "tiny.gguf", "-i", "hello", "--max-tokens", "4"]);
    let ended = Ended::from(command.envs([REQUIRED]).output().unwrap());
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{ended:?}");
    let expected = "error: cannot load the model \"tiny.gguf\": OSTRO_REQUIRE_GPU is set, but ";
    assert!(ended.errors.starts_with(expected) && ended.errors.contains("libcuda.so.1"), "{ended:?}");
}

/// Files may have to be downloaded.
#[test]
fn missing_gpu_is_told_before_files_are_looked_for() {
    let Some(machine) = Machine::new(&[REQUIRED, NO_DEVICE]) else { return };
    let ended = machine.run(&["run", "-m", "no/such/model.gguf", "-i", "hello"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = "error: cannot load the model \"no/such/model.gguf\": OSTRO_REQUIRE_GPU is set, but ";
    assert!(ended.errors.starts_with(expected), "{ended:?}");
}

#[test]
fn who_has_a_gpu_or_asks_for_the_cpu_is_not_refused() {
    let on_gpu = |variables: &[(&'static str, &str)], flags: &[&str]| {
        let errors = Machine::new(variables)?.answer(flags).errors;
        Some(errors.contains(&format!("{PLACED}\"{GPU}, ")))
    };
    for (variables, flags, expected) in [
        ([REQUIRED].as_slice(), [].as_slice(), true),
        (&[REQUIRED], &["--cpu"], false),
        (&[REQUIRED, NO_DEVICE], &["--cpu"], false),
        (&[("OSTRO_REQUIRE_GPU", "off"), NO_DEVICE], &[], false),
    ] {
        let Some(found) = on_gpu(variables, flags) else { return };
        assert_eq!(found, expected, "{variables:?} {flags:?}");
    }
}

#[test]
fn server_tells_which_model_lacks_its_gpu() {
    let Some(machine) = Machine::new(&[REQUIRED, NO_DEVICE]) else { return };
    let folder = machine.home.folder.path();
    std::fs::copy(folder.join("tiny.gguf"), folder.join("other.gguf")).unwrap();
    machine.home.write(
        "a.toml",
        "[[models]]\nmodel_id = \"tiny.gguf\"\ndevice.cpu = true\n[[models]]\nmodel_id = \"other.gguf\"\n",
    );
    let server = Running::of(machine.command(&["from-config", "-f", "a.toml"]));
    let chat = |model: &str| {
        let body = CHAT.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
        server.request("POST", "/v1/chat/completions", &body)
    };
    let reason =
        "OSTRO_REQUIRE_GPU is set, but the NVIDIA driver finds no GPU; in a pod, see runtimeClassName";
    // Both wait for the model that they ask for.
    let (status, body) = chat("other");
    assert!(status == 503 && body.contains(reason), "{status} {body}");
    let (status, body) = chat("tiny");
    assert_eq!(status, 200, "{body}");
    let models = server.request("GET", "/v1/models", "").1;
    let failed = models.split("\"id\":").find(|model| model.starts_with("\"other\"")).unwrap();
    assert!(failed.contains("\"status\":\"failed\"") && failed.contains(reason), "{models}");
}

/// The log of a server whose models are no files of models, so that it ends.
fn log(machine: &Machine, file: &str, flags: &[&str]) -> String {
    machine.home.write("a.gguf", "not a model");
    machine.home.write("b.gguf", "not a model");
    let arguments = [&["from-config", "-f", file, "--host", "127.0.0.1", "--port", "0"], flags].concat();
    let ended = machine.run(&arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.errors
}

#[test]
fn manifest_that_asks_for_a_gpu_runs_on_the_cpu_and_says_so() {
    let Some(machine) = Machine::new(&[NO_DEVICE]) else { return };
    let head = "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: m}\n";
    let spec = "spec:\n  models: [{modelId: a.gguf}]\n";
    let limits = "  resources: {limits: {nvidia.com/gpu: 1}}\n";
    machine.home.write("plain.yaml", &format!("{head}{spec}"));
    machine.home.write("gpu.yaml", &format!("{head}{spec}{limits}"));
    let told =
        "running on the CPU, though the object's resources ask for a GPU: the NVIDIA driver finds no GPU";
    for (file, flags, expected) in
        [("gpu.yaml", [].as_slice(), true), ("gpu.yaml", &["--cpu"], false), ("plain.yaml", &[], false)]
    {
        let log = log(&machine, file, flags);
        let warns = log.lines().any(|line| line.contains("WARN") && line.contains(told));
        assert_eq!(warns, expected, "{file} {flags:?}: {log}");
    }
}

#[test]
fn gpu_that_cannot_be_used_is_told_once_for_all_models() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA", "old-driver")]) else { return };
    machine.home.write("a.toml", "[[models]]\nmodel_id = \"a.gguf\"\n[[models]]\nmodel_id = \"b.gguf\"\n");
    let log = log(&machine, "a.toml", &[]);
    assert_eq!(log.matches("since the GPU cannot be used").count(), 1, "{log}");
}
