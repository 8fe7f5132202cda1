//! One line a check: what was found, whether that is good, and what to do where it is not. Pure.

use std::fmt::Write;

use ostro_engine::DeviceChoice;
use ostro_engine::device::{Gpu, NoGpu, UnusableGpu};
use serde::Serialize;

use super::hub::Answer;
use super::machine::{Cpu, HubCache, Machine, Memory, OpenedGpu};

/// Less is not enough for a model worth running.
const FREE_BYTES_MIN: u64 = 1 << 30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// Ostro runs, but perhaps not as somebody wished.
    Warning,
    /// Something that was asked for cannot work.
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "failed",
        }
    }

    fn check(self, name: &'static str, text: impl Into<String>) -> Check {
        Check { name, state: self, text: text.into() }
    }
}

pub(super) fn checks(machine: &Machine) -> Vec<Check> {
    let mut checks = vec![build(machine), cpu(&machine.cpu, machine.arch), memory(&machine.memory)];
    match &machine.gpus {
        Ok(gpus) => checks.extend(gpus.iter().enumerate().map(gpu)),
        Err(reason) => checks.push(no_gpu(reason, machine.nvidia_driver.as_deref(), machine.device)),
    }
    checks.extend(machine.unusable_gpus.iter().map(unusable_gpu));
    checks.push(hub_cache(&machine.hub_cache));
    checks.extend(machine.hub.as_ref().map(|answer| hub(answer, &machine.hub_address)));
    checks
}

/// For people.
pub(super) fn table(checks: &[Check]) -> String {
    checks.iter().fold(String::new(), |mut table, Check { name, state, text }| {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{:<8} {name:<10} {text}", state.name());
        table
    })
}

fn build(machine: &Machine) -> Check {
    let cuda = if machine.gpus == Err(NoGpu::NotBuilt) { "without" } else { "with" };
    State::Ok.check("build", format!("ostro {} for {}, {cuda} CUDA", machine.version, machine.arch))
}

fn cpu(cpu: &Cpu, arch: &str) -> Check {
    let Cpu { model, instruction_set: best, chosen, threads, cpus, cgroup_cpus } = cpu;
    let name = model.as_deref().unwrap_or("unknown processor");
    let mut text = format!("{name}, {best}, {threads} of {cpus} CPUs");
    if let Some(limit) = cgroup_cpus {
        let _ = write!(text, ", {limit:.1} by the cgroup's limit");
    }
    match chosen {
        Some(Err(reason)) => return State::Failed.check("cpu", reason.clone()),
        Some(Ok(chosen)) => {
            let _ = write!(text, "; OSTRO_CPU chooses {chosen}");
        }
        None => {}
    }
    let lacks = match (*best, arch) {
        ("portable", "x86_64") => "no AVX2",
        ("portable", "aarch64") => "no NEON with the dot product",
        _ => return State::Ok.check("cpu", text),
    };
    State::Warning.check("cpu", format!("{text}; slow, since it has {lacks}"))
}

fn memory(memory: &Memory) -> Check {
    match (memory.total_bytes, memory.available_bytes) {
        (Some(total), Some(available)) => {
            State::Ok.check("memory", format!("{}, of it {} available", gib(total), gib(available)))
        }
        _ => State::Warning.check("memory", "the system does not say how much there is"),
    }
}

/// A model runs on the first, and does not load where that one cannot be opened.
fn gpu((index, opened): (usize, &OpenedGpu)) -> Check {
    let OpenedGpu { gpu, free_bytes, problem } = opened;
    let Gpu { ordinal, name, uuid, compute_capability, memory_bytes, driver_cuda } = gpu;
    let memory = gib(*memory_bytes);
    let free = free_bytes.map(|bytes| format!(", of it {} free", gib(bytes))).unwrap_or_default();
    let text = format!(
        "{ordinal}: {name}, compute capability {compute_capability}, {memory}{free}, driver for CUDA {driver_cuda}, \
         {uuid}"
    );
    let (state, text) = match (problem, index) {
        (Some(problem), 0) => (
            State::Failed,
            format!(
                "{text}: {problem}; no model loads now; see nvidia-smi, which tells who uses it, or choose the CPU by --cpu"
            ),
        ),
        (Some(problem), _) => (State::Warning, format!("{text}: {problem}; not used")),
        (None, 0) if free_bytes.is_some_and(|free| free < FREE_BYTES_MIN) => {
            (State::Warning, format!("{text}: hardly enough is free for one more model"))
        }
        (None, 0) => (State::Ok, text),
        (None, _) => (State::Ok, format!("{text}; not used")),
    };
    state.check("gpu", text)
}

fn unusable_gpu(gpu: &UnusableGpu) -> Check {
    let UnusableGpu { ordinal, reason } = gpu;
    State::Warning.check("gpu", format!("{ordinal}: cannot be used: {reason}; see nvidia-smi"))
}

fn no_gpu(reason: &NoGpu, driver: Option<&str>, device: DeviceChoice) -> Check {
    let driver =
        driver.map(|version| format!("; the kernel has NVIDIA's driver {version}")).unwrap_or_default();
    let (state, outcome) = match (device, reason) {
        (DeviceChoice::Gpu, _) => (State::Failed, "models fail (OSTRO_REQUIRE_GPU)"),
        (_, NoGpu::NotBuilt | NoGpu::Absent(_)) => (State::Ok, "models run on the CPU"),
        _ => (State::Warning, "models run on the CPU"),
    };
    let text = match reason {
        NoGpu::NotBuilt | NoGpu::Absent(_) => format!("no GPU: {reason}; {outcome}{driver}"),
        NoGpu::Unfit(_) => format!("the GPU cannot be used: {reason}; {outcome}"),
        NoGpu::Unusable(_) => format!(
            "the GPU cannot be used: {reason}; {outcome}{driver}; see nvidia-smi, update the driver if it is too old, \
             give a container the driver's libraries, or choose the CPU by --cpu"
        ),
    };
    state.check("gpu", text)
}

fn hub_cache(cache: &HubCache) -> Check {
    let HubCache { folder, offline, problem, free_bytes } = cache;
    let folder = folder.display();
    let free = free_bytes.map(|bytes| format!(", {} free", gib(bytes))).unwrap_or_default();
    let (state, text) = match problem {
        _ if *offline => (State::Ok, format!("{folder}, only read: HF_HUB_OFFLINE is set")),
        Some(problem) => (
            State::Failed,
            format!(
                "cannot write to {folder}: {problem}; set HF_HOME to another folder, or HF_HUB_OFFLINE=1 if no model \
                 is to be downloaded"
            ),
        ),
        None if free_bytes.is_some_and(|free| free < FREE_BYTES_MIN) => {
            (State::Warning, format!("{folder}{free}: hardly enough for a model"))
        }
        None => (State::Ok, format!("{folder}{free}")),
    };
    state.check("hub cache", text)
}

fn hub(answer: &Answer, address: &str) -> Check {
    let (state, text) = match answer {
        Answer::NotAsked => (State::Ok, "not asked: HF_HUB_OFFLINE is set".to_owned()),
        Answer::Status(200..400) => (State::Ok, format!("{address} answers")),
        Answer::Status(status @ 400..500) => (
            State::Warning,
            format!("{address} answers with status {status}; is it a hub? HF_ENDPOINT and proxies decide"),
        ),
        Answer::Status(status) => (State::Failed, format!("{address} answers with status {status}")),
        Answer::Unreachable(reason) => (State::Failed, format!("{address} cannot be reached: {reason}")),
    };
    state.check("hub", text)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(test)]
mod tests;
