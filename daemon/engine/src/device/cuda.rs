//! NVIDIA GPUs, found by the driver that is loaded at run time.

use std::path::Path;

use ostro_kernels::cuda::{self, NoGpu as Reason};

use super::{Gpu, Gpus, NoGpu, UnusableGpu};
use crate::backend::BackendError;

use crate::backend::cuda::CudaBackend;

/// There where the kernel has NVIDIA's driver, in containers too.
const KERNEL_DRIVER: &str = "/proc/driver/nvidia/version";

pub(super) fn gpus() -> Result<Gpus, NoGpu> {
    let cuda::Gpus { usable, unusable } =
        cuda::gpus().map_err(|reason| no_gpu(&reason, Path::new(KERNEL_DRIVER)))?;
    let refused =
        |gpu: cuda::UnusableGpu| UnusableGpu { ordinal: gpu.ordinal, reason: gpu.reason.to_string() };
    Ok(Gpus {
        usable: usable.iter().map(describe).collect(),
        unusable: unusable.into_iter().map(refused).collect(),
    })
}

pub(super) fn probe(gpu: &Gpu) -> Result<u64, NoGpu> {
    let (free_bytes, _) = cuda::probe(gpu.ordinal).map_err(|error| NoGpu::Unusable(error.to_string()))?;
    Ok(free_bytes)
}

/// The library is a part of the driver: where the kernel has its other part, it is missing by mistake.
fn no_gpu(reason: &Reason, kernel_driver: &Path) -> NoGpu {
    match reason {
        Reason::NoDriver if kernel_driver.exists() => {
            NoGpu::Unusable(format!("{reason}, though the kernel has NVIDIA's driver"))
        }
        Reason::NoDriver | Reason::NoDevice => NoGpu::Absent(reason.to_string()),
        Reason::OldDevice { .. } => NoGpu::Unfit(reason.to_string()),
        _ => NoGpu::Unusable(reason.to_string()),
    }
}

fn describe(gpu: &cuda::Gpu) -> Gpu {
    let (major, minor) = gpu.compute_capability;
    Gpu {
        ordinal: gpu.ordinal,
        name: gpu.name.clone(),
        uuid: gpu.uuid.clone(),
        compute_capability: format!("{major}.{minor}"),
        memory_bytes: gpu.memory_bytes,
        driver_cuda: gpu.driver(),
    }
}

pub(crate) fn open(gpu: &Gpu) -> Result<CudaBackend, BackendError> {
    let device = |error| BackendError::Device(Box::new(error));
    let found = cuda::gpus().map_err(|reason| BackendError::Device(Box::new(reason)))?;
    let found = found.usable.into_iter().find(|found| found.ordinal == gpu.ordinal);
    let found = found.ok_or(NoGpu::Absent(format!("GPU {} has gone", gpu.ordinal)));
    CudaBackend::new(found.map_err(|reason| BackendError::Device(Box::new(reason)))?).map_err(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_that_is_missing_beside_the_kernels_driver_is_something_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (version, absent) = (folder.path().join("version"), folder.path().join("absent"));
        std::fs::write(&version, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15").unwrap();
        let reason = Reason::NoDriver.to_string();
        assert_eq!(no_gpu(&Reason::NoDriver, &absent), NoGpu::Absent(reason.clone()));
        let wrong = NoGpu::Unusable(format!("{reason}, though the kernel has NVIDIA's driver"));
        assert_eq!(no_gpu(&Reason::NoDriver, &version), wrong);
        // As in a container that was to have none.
        let none = NoGpu::Absent(Reason::NoDevice.to_string());
        assert_eq!(no_gpu(&Reason::NoDevice, &version), none);
    }
}
