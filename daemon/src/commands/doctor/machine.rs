//! What there is, without any judgement: read from the processor, /proc, /sys, the GPU's driver and the file system.

use std::fs;
use std::path::{Path, PathBuf};

use ostro_config::TokenSource;
use ostro_engine::device::{Gpu, Gpus, NoGpu, UnusableGpu, gpus, probe};
use ostro_engine::{DeviceChoice, Isa, memory};
use rustix::fs::{Access, access, statvfs};
use serde::{Serialize, Serializer};

use super::super::instruction_set;
use super::hub::Answer;
use crate::environment::{Environment, Offline};
use crate::failure::Failure;
use crate::gpu;
use crate::hub::hub_options;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) version: &'static str,
    pub(super) arch: &'static str,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    /// Of models that are told nothing else.
    #[serde(skip)]
    pub(super) device: DeviceChoice,
    /// An empty list for programs where there is none; the check says why.
    #[serde(serialize_with = "list")]
    pub(super) gpus: Result<Vec<OpenedGpu>, NoGpu>,
    pub(super) unusable_gpus: Vec<UnusableGpu>,
    /// Version of the kernel's driver, which containers without a GPU see too.
    pub(super) nvidia_driver: Option<String>,
    pub(super) hub_cache: HubCache,
    pub(super) hub_address: String,
    /// `None`: it was not to be asked.
    pub(super) hub: Option<Answer>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Cpu {
    pub(super) model: Option<String>,
    /// The widest that this processor has.
    pub(super) instruction_set: &'static str,
    /// Of `OSTRO_CPU`, or why models refuse it.
    #[serde(skip)]
    pub(super) chosen: Option<Result<&'static str, String>>,
    /// That compute unless the configuration says otherwise.
    pub(super) threads: usize,
    /// Of the machine.
    pub(super) cpus: usize,
    /// What the process's cgroup allows, which need not be whole.
    pub(super) cgroup_cpus: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) total_bytes: Option<u64>,
    pub(super) available_bytes: Option<u64>,
}

/// One that was found, opened as by a model and left again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OpenedGpu {
    #[serde(flatten)]
    pub(super) gpu: Gpu,
    pub(super) free_bytes: Option<u64>,
    /// Why it cannot be opened.
    pub(super) problem: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct HubCache {
    pub(super) folder: PathBuf,
    pub(super) offline: bool,
    /// Why nothing can be written there.
    pub(super) problem: Option<String>,
    pub(super) free_bytes: Option<u64>,
}

impl Machine {
    pub(super) fn look(environment: &Environment) -> Result<Machine, Failure> {
        let hub = hub_options(environment, &TokenSource::Cache, None)?;
        let memory::Memory { total_bytes, available_bytes, .. } = memory::Memory::of_host();
        let (gpus, unusable_gpus) = match gpus() {
            Ok(Gpus { usable, unusable }) => {
                (Ok(usable.into_iter().map(OpenedGpu::look).collect()), unusable)
            }
            Err(reason) => (Err(reason), Vec::new()),
        };
        Ok(Machine {
            version: env!("CARGO_PKG_VERSION"),
            arch: std::env::consts::ARCH,
            cpu: Cpu::look(environment),
            memory: Memory { total_bytes, available_bytes },
            device: gpu::device(environment.require_gpu.as_deref())?,
            gpus,
            unusable_gpus,
            nvidia_driver: fs::read_to_string("/proc/driver/nvidia/version")
                .ok()
                .and_then(|text| driver_version(&text)),
            hub_cache: HubCache::look(hub.cache_folder(), environment.hf_offline),
            hub_address: hub.endpoint,
            hub: None,
        })
    }
}

impl Cpu {
    fn look(environment: &Environment) -> Cpu {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value =
            |line: &str, key: &str| Some(line.strip_prefix(key)?.split_once(':')?.1.trim().to_owned());
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        let chosen = environment.instruction_set.as_deref().map(|name| match instruction_set(name) {
            Ok(isa) => Ok(isa.name()),
            Err(failure) => Err(failure.to_string()),
        });
        Cpu {
            model: info.lines().find_map(|line| value(line, "model name")),
            instruction_set: Isa::detect().name(),
            chosen,
            threads,
            cpus: info.lines().filter(|line| value(line, "processor").is_some()).count().max(threads),
            cgroup_cpus: cgroup_cpus(Path::new("/")),
        }
    }
}

impl OpenedGpu {
    fn look(gpu: Gpu) -> OpenedGpu {
        match probe(&gpu) {
            Ok(free_bytes) => OpenedGpu { gpu, free_bytes: Some(free_bytes), problem: None },
            Err(reason) => OpenedGpu { gpu, free_bytes: None, problem: Some(reason.to_string()) },
        }
    }
}

impl HubCache {
    fn look(folder: PathBuf, offline: Offline) -> HubCache {
        // What is missing is made by the first download.
        let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
        let problem = match there.is_dir() {
            false => Some(format!("{} is not a folder", there.display())),
            true => access(there, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| error.to_string()),
        };
        let free_bytes = statvfs(there).ok().map(|space| space.f_bavail.saturating_mul(space.f_frsize));
        HubCache { folder, offline: offline == Offline::Yes, problem, free_bytes }
    }
}

/// The least that the process's cgroup and those above it allow, by version 2; version 1 limits show in the threads.
fn cgroup_cpus(root: &Path) -> Option<f64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A path that leads outside the mounted hierarchy belongs to another namespace.
    let path = if path.split('/').any(|part| part == "..") { "" } else { path };
    let top = root.join("sys/fs/cgroup");
    let group = top.join(path);
    let groups = group.ancestors().take_while(|group| group.starts_with(&top));
    let limits = groups.filter_map(|group| quota(&fs::read_to_string(group.join("cpu.max")).ok()?));
    limits.reduce(f64::min)
}

/// `QUOTA PERIOD` in microseconds; `max` is none.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar ...`: the word that is a version.
fn driver_version(text: &str) -> Option<String> {
    let is_version =
        |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

fn list<S: Serializer>(gpus: &Result<Vec<OpenedGpu>, NoGpu>, serializer: S) -> Result<S::Ok, S::Error> {
    gpus.as_deref().unwrap_or_default().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowest_cgroup_counts() {
        let check = |membership: &str, groups: &[(&str, &str)], expected: Option<f64>| {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("proc/self")).unwrap();
            fs::write(root.path().join("proc/self/cgroup"), membership).unwrap();
            for (group, limit) in groups {
                let folder = root.path().join("sys/fs/cgroup").join(group);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("cpu.max"), limit).unwrap();
            }
            assert_eq!(cgroup_cpus(root.path()), expected, "{membership:?} {groups:?}");
        };
        check("0::/a/b\n", &[("a", "150000 100000\n"), ("a/b", "max 100000\n")], Some(1.5));
        check("0::/\n", &[("", "200000 100000\n")], Some(2.0));
        check("0::/../../c\n", &[("", "max 100000\n"), ("c", "1000 100000\n")], None);
        check("1:cpu:/a\n", &[("a", "1000 100000\n")], None);
        check("", &[], None);
    }

    #[test]
    fn driver_version_is_found_for_both_kinds_of_module() {
        for text in [
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.2",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (root@x)  \n",
        ] {
            assert_eq!(driver_version(text).as_deref(), Some("550.54.15"), "{text}");
        }
        assert_eq!(driver_version("what is this"), None);
    }

    #[test]
    fn folder_of_the_cache_need_not_be_there_yet() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        let problem = |path: &str| HubCache::look(home.path().join(path), Offline::No).problem;
        assert_eq!(problem("a/b/hub"), None);
        let file = home.path().join("file");
        assert_eq!(problem("file/hub"), Some(format!("{} is not a folder", file.display())));
        assert!(HubCache::look(home.path().join("a/hub"), Offline::Yes).free_bytes > Some(0));
        assert!(!home.path().join("a").exists(), "looking creates nothing");
    }
}
