//! Facts in, lines out.

use super::*;

fn machine() -> Machine {
    Machine {
        version: "1.2.3",
        arch: "x86_64",
        cpu: Cpu {
            model: Some("Fast CPU".to_owned()),
            instruction_set: "amx",
            chosen: None,
            threads: 4,
            cpus: 16,
            cgroup_cpus: Some(4.0),
        },
        memory: Memory { total_bytes: Some(32 << 30), available_bytes: Some(24 << 30) },
        device: DeviceChoice::Auto,
        gpus: Ok(vec![one_gpu(0), one_gpu(1)]),
        unusable_gpus: Vec::new(),
        nvidia_driver: Some("550.54.15".to_owned()),
        hub_cache: HubCache {
            folder: "/cache/hub".into(),
            offline: false,
            problem: None,
            free_bytes: Some(5 << 30),
        },
        hub_address: "https://hub".to_owned(),
        hub: None,
    }
}

fn one_gpu(ordinal: usize) -> OpenedGpu {
    let gpu = Gpu {
        ordinal,
        name: "Big GPU".to_owned(),
        uuid: format!("GPU-{ordinal}"),
        compute_capability: "9.0".to_owned(),
        memory_bytes: 80 << 30,
        driver_cuda: "12.8".to_owned(),
    };
    OpenedGpu { gpu, free_bytes: Some(79 << 30), problem: None }
}

/// The check of this name, as people see it.
fn line_of(machine: &Machine, name: &str) -> String {
    let checks = checks(machine).into_iter().filter(|check| check.name == name).collect::<Vec<_>>();
    table(&checks).trim_end().to_owned()
}

#[test]
fn every_fact_has_its_line() {
    let expected = "\
ok       build      ostro 1.2.3 for x86_64, with CUDA
ok       cpu        Fast CPU, amx, 4 of 16 CPUs, 4.0 by the cgroup's limit
ok       memory     32.0 GiB, of it 24.0 GiB available
ok       gpu        0: Big GPU, compute capability 9.0, 80.0 GiB, of it 79.0 GiB free, driver for CUDA 12.8, GPU-0
ok       gpu        1: Big GPU, compute capability 9.0, 80.0 GiB, of it 79.0 GiB free, driver for CUDA 12.8, GPU-1; not used
ok       hub cache  /cache/hub, 5.0 GiB free
";
    assert_eq!(table(&checks(&machine())), expected);
}

#[test]
fn a_machine_without_a_gpu_is_as_good_as_its_reason() {
    let line = |reason: NoGpu, driver: Option<&str>| {
        let nvidia_driver = driver.map(str::to_owned);
        line_of(&Machine { gpus: Err(reason), nvidia_driver, ..machine() }, "gpu")
    };
    assert_eq!(
        line(NoGpu::NotBuilt, None),
        "ok       gpu        no GPU: this build has no CUDA support; models run on the CPU"
    );
    assert_eq!(
        line(NoGpu::Absent("none is there".to_owned()), Some("1.2")),
        "ok       gpu        no GPU: none is there; models run on the CPU; the kernel has NVIDIA's driver 1.2"
    );
    assert_eq!(
        line(NoGpu::Unusable("it is old".to_owned()), Some("1.2")),
        "warning  gpu        the GPU cannot be used: it is old; models run on the CPU; the kernel has NVIDIA's driver \
         1.2; see nvidia-smi, update the driver if it is too old, give a container the driver's libraries, or choose \
         the CPU by --cpu"
    );
    assert_eq!(
        line(NoGpu::Unfit("it is small".to_owned()), Some("1.2")),
        "warning  gpu        the GPU cannot be used: it is small; models run on the CPU"
    );
    let required = Machine { gpus: Err(NoGpu::NotBuilt), device: DeviceChoice::Gpu, ..machine() };
    assert_eq!(
        line_of(&required, "gpu"),
        "failed   gpu        no GPU: this build has no CUDA support; models fail (OSTRO_REQUIRE_GPU); the kernel has \
         NVIDIA's driver 550.54.15"
    );
    let without = Machine { gpus: Err(NoGpu::NotBuilt), ..machine() };
    assert_eq!(line_of(&without, "build"), "ok       build      ostro 1.2.3 for x86_64, without CUDA");
}

#[test]
fn gpus_are_judged_by_what_models_would_meet() {
    let lines = |change: fn(&mut OpenedGpu)| {
        let [mut first, mut second] = [0, 1].map(one_gpu);
        change(&mut first);
        change(&mut second);
        line_of(&Machine { gpus: Ok(vec![first, second]), ..machine() }, "gpu")
    };
    let busy = lines(|gpu| (gpu.free_bytes, gpu.problem) = (None, Some("it is busy".to_owned())));
    assert_eq!(
        busy,
        "failed   gpu        0: Big GPU, compute capability 9.0, 80.0 GiB, driver for CUDA 12.8, GPU-0: it is busy; \
         no model loads now; see nvidia-smi, which tells who uses it, or choose the CPU by --cpu\n\
         warning  gpu        1: Big GPU, compute capability 9.0, 80.0 GiB, driver for CUDA 12.8, GPU-1: it is busy; \
         not used"
    );
    let full = lines(|gpu| gpu.free_bytes = Some(1 << 29));
    let (first, second) = full.split_once('\n').unwrap();
    let expected =
        ", of it 0.5 GiB free, driver for CUDA 12.8, GPU-0: hardly enough is free for one more model";
    assert!(first.starts_with("warning ") && first.ends_with(expected), "{first}");
    assert!(second.starts_with("ok ") && second.ends_with("; not used"), "{second}");
}

#[test]
fn a_gpu_that_cannot_be_used_hides_no_other() {
    let unusable = UnusableGpu { ordinal: 0, reason: "it is old".to_owned() };
    let machine = Machine { gpus: Ok(vec![one_gpu(1)]), unusable_gpus: vec![unusable], ..machine() };
    let lines = line_of(&machine, "gpu");
    let (good, bad) = lines.split_once('\n').unwrap();
    assert!(good.starts_with("ok       gpu        1: Big GPU") && good.ends_with(", GPU-1"), "{good}");
    assert_eq!(bad, "warning  gpu        0: cannot be used: it is old; see nvidia-smi");
}

#[test]
fn instruction_sets_are_judged() {
    let line = |change: fn(&mut Cpu)| {
        let mut machine = machine();
        change(&mut machine.cpu);
        line_of(&machine, "cpu")
    };
    let failed = line(|cpu| cpu.chosen = Some(Err("OSTRO_CPU = \"mmx\": unknown".to_owned())));
    assert_eq!(failed, "failed   cpu        OSTRO_CPU = \"mmx\": unknown");
    let chosen = line(|cpu| cpu.chosen = Some(Ok("avx2")));
    assert!(chosen.starts_with("ok ") && chosen.ends_with("; OSTRO_CPU chooses avx2"), "{chosen}");
    let slow = line(|cpu| cpu.instruction_set = "portable");
    assert!(slow.starts_with("warning ") && slow.ends_with("; slow, since it has no AVX2"), "{slow}");
    let mut arm = Machine { arch: "aarch64", ..machine() };
    arm.cpu = Cpu { model: None, instruction_set: "portable", cgroup_cpus: None, ..arm.cpu };
    assert_eq!(
        line_of(&arm, "cpu"),
        "warning  cpu        unknown processor, portable, 4 of 16 CPUs; slow, since it has no NEON with the dot product"
    );
    arm.cpu.instruction_set = "neon";
    assert_eq!(line_of(&arm, "cpu"), "ok       cpu        unknown processor, neon, 4 of 16 CPUs");
}

#[test]
fn unknown_memory_is_a_warning() {
    let machine = Machine { memory: Memory { total_bytes: Some(1), available_bytes: None }, ..machine() };
    assert!(line_of(&machine, "memory").starts_with("warning "));
}

#[test]
fn cache_must_be_written_to_unless_offline() {
    let line = |change: fn(&mut HubCache)| {
        let mut machine = machine();
        change(&mut machine.hub_cache);
        line_of(&machine, "hub cache")
    };
    let refused = line(|cache| cache.problem = Some("is full".to_owned()));
    assert!(refused.starts_with("failed   hub cache  cannot write to /cache/hub: is full; "), "{refused}");
    let offline = line(|cache| (cache.problem, cache.offline) = (Some("is full".to_owned()), true));
    assert_eq!(offline, "ok       hub cache  /cache/hub, only read: HF_HUB_OFFLINE is set");
    let little = line(|cache| cache.free_bytes = Some(1 << 29));
    assert_eq!(little, "warning  hub cache  /cache/hub, 0.5 GiB free: hardly enough for a model");
    assert_eq!(line(|cache| cache.free_bytes = None), "ok       hub cache  /cache/hub");
}

#[test]
fn hub_is_judged_by_its_answer() {
    for (answer, expected) in [
        (Answer::NotAsked, "ok       hub        not asked: HF_HUB_OFFLINE is set"),
        (Answer::Status(200), "ok       hub        https://hub answers"),
        (Answer::Status(404), "warning  hub        https://hub answers with status 404; is it a hub? "),
        (Answer::Status(503), "failed   hub        https://hub answers with status 503"),
        (
            Answer::Unreachable("refused".to_owned()),
            "failed   hub        https://hub cannot be reached: refused",
        ),
    ] {
        let line = line_of(&Machine { hub: Some(answer), ..machine() }, "hub");
        assert!(line.starts_with(expected), "{line}");
    }
}
