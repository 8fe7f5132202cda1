//! NVIDIA GPUs, found by the driver that is loaded at run time.

use ostro_kernels::cuda::{self, NoGpu as Reason};

use super::{Gpu, NoGpu};
use crate::backend::BackendError;

use crate::backend::cuda::CudaBackend;

pub(super) fn gpus() -> Result<Vec<Gpu>, NoGpu> {
    let found = cuda::gpus().map_err(|reason| match reason {
        Reason::NoDriver | Reason::NoDevice => NoGpu::Absent(reason.to_string()),
        _ => NoGpu::Unusable(reason.to_string()),
    })?;
    Ok(found.iter().map(describe).collect())
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
    let found = found.into_iter().find(|found| found.ordinal == gpu.ordinal);
    let found = found.ok_or(NoGpu::Absent(format!("GPU {} has gone", gpu.ordinal)));
    CudaBackend::new(found.map_err(|reason| BackendError::Device(Box::new(reason)))?).map_err(device)
}
