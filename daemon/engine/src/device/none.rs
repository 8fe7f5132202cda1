//! A build without CUDA: there is never a GPU.

use super::{Gpu, Gpus, NoGpu};
use crate::backend::BackendError;

/// The CPU's, since no other can be opened.
use crate::backend::cpu::CpuBackend;

pub(super) fn gpus() -> Result<Gpus, NoGpu> {
    Err(NoGpu::NotBuilt)
}

pub(super) fn probe(_: &Gpu) -> Result<u64, NoGpu> {
    Err(NoGpu::NotBuilt)
}

pub(crate) fn open(_: &Gpu) -> Result<CpuBackend, BackendError> {
    Err(BackendError::Device(Box::new(NoGpu::NotBuilt)))
}
