//! Which device a model runs on. The only place, beside the kernels, that knows whether this build has CUDA.

#[cfg_attr(feature = "cuda", path = "device/cuda.rs")]
#[cfg_attr(not(feature = "cuda"), path = "device/none.rs")]
mod found;

use std::sync::Once;

use serde::Serialize;

use crate::options::DeviceChoice;

pub(crate) use found::open;

/// A GPU that models can run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// The driver's number of it in this process.
    pub ordinal: usize,
    pub name: String,
    /// As `nvidia-smi -L` prints it of the GPU, also where this is an instance of it (MIG).
    pub uuid: String,
    pub compute_capability: String,
    pub memory_bytes: u64,
    /// The newest CUDA that the driver knows.
    pub driver_cuda: String,
}

/// The GPUs that were found, in the driver's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    /// At least one: models run on the first.
    pub usable: Vec<Gpu>,
    pub unusable: Vec<UnusableGpu>,
}

/// A GPU beside those that models can run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnusableGpu {
    pub ordinal: usize,
    pub reason: String,
}

/// Why models cannot run on a GPU here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    #[error("this build has no CUDA support")]
    NotBuilt,
    /// No driver, or no GPU: nothing is wrong.
    #[error("{0}")]
    Absent(String),
    /// A GPU is there that no driver makes fit for models.
    #[error("{0}")]
    Unfit(String),
    /// Something is there and cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// Asks the driver.
///
/// # Errors
/// Where models cannot run on any GPU.
pub fn gpus() -> Result<Gpus, NoGpu> {
    found::gpus()
}

/// Bytes that are free, told by a GPU that is opened and left for that.
///
/// # Errors
/// Where it cannot be opened, so that no model would load on it.
pub fn probe(gpu: &Gpu) -> Result<u64, NoGpu> {
    found::probe(gpu)
}

/// `None`: the CPU. A GPU that is there and cannot be used is told and left, unless it must be one.
pub(crate) fn choose(choice: DeviceChoice) -> Result<Option<Gpu>, NoGpu> {
    match choice {
        DeviceChoice::Cpu => Ok(None),
        DeviceChoice::Gpu => gpus().map(first),
        DeviceChoice::Auto => Ok(gpus().map_or_else(left, first)),
    }
}

fn first(gpus: Gpus) -> Option<Gpu> {
    // They are the same for all models of a process.
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        for UnusableGpu { ordinal, reason } in &gpus.unusable {
            tracing::warn!("GPU {ordinal} cannot be used: {reason}");
        }
    });
    gpus.usable.into_iter().next()
}

fn left(reason: NoGpu) -> Option<Gpu> {
    // It is the same for all models of a process.
    static TOLD: Once = Once::new();
    match reason {
        NoGpu::Unfit(reason) | NoGpu::Unusable(reason) => TOLD.call_once(|| {
            tracing::warn!("running on the CPU, since the GPU cannot be used: {reason}");
        }),
        reason => tracing::debug!("running on the CPU: {reason}"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever this machine has.
    #[test]
    fn only_who_must_have_a_gpu_fails_without_one() {
        let first = gpus().map(|gpus| gpus.usable.into_iter().next());
        assert_eq!(choose(DeviceChoice::Gpu), first);
        assert_eq!(choose(DeviceChoice::Auto), Ok(first.unwrap_or_default()));
        assert_eq!(choose(DeviceChoice::Cpu), Ok(None));
    }
}
