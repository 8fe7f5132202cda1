//! What the device could not do, and whether it can do anything after that.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use super::discover::message;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// One call failed; others may work.
    #[error("{what}: {reason}")]
    Driver { what: &'static str, reason: String },
    /// The driver answers every further call of this process with an error.
    #[error("{what}: {reason}")]
    Lost { what: &'static str, reason: String },
    #[error(
        "the GPU has no memory for {what} of {} MiB, {} of {} MiB are free",
        bytes.div_ceil(1 << 20), free_bytes >> 20, total_bytes >> 20
    )]
    OutOfMemory { what: &'static str, bytes: u64, free_bytes: u64, total_bytes: u64 },
}

impl CudaError {
    /// Only another process can use the GPU again.
    pub fn is_lost(&self) -> bool {
        matches!(self, CudaError::Lost { .. })
    }
}

/// Names the operation of a driver's error.
pub(crate) trait During<T> {
    fn during(self, what: &'static str) -> Result<T, CudaError>;
}

impl<T> During<T> for Result<T, DriverError> {
    fn during(self, what: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| match is_sticky(error.0) {
            true => CudaError::Lost { what, reason: message(error) },
            false => CudaError::Driver { what, reason: message(error) },
        })
    }
}

/// Errors after which the context is of no use. Source: cuda.h, which says of those of kernels that "the process must be
/// terminated and relaunched"; the others tell of a device, a context or a driver that has gone.
fn is_sticky(error: CUresult) -> bool {
    use CUresult::*;
    matches!(
        error,
        CUDA_ERROR_ILLEGAL_ADDRESS
            | CUDA_ERROR_LAUNCH_TIMEOUT
            | CUDA_ERROR_ASSERT
            | CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUDA_ERROR_MISALIGNED_ADDRESS
            | CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUDA_ERROR_INVALID_PC
            | CUDA_ERROR_LAUNCH_FAILED
            | CUDA_ERROR_TENSOR_MEMORY_LEAK
            | CUDA_ERROR_CONTAINED
            | CUDA_ERROR_ECC_UNCORRECTABLE
            | CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUDA_ERROR_EXTERNAL_DEVICE
            | CUDA_ERROR_UNKNOWN
            | CUDA_ERROR_NOT_INITIALIZED
            | CUDA_ERROR_DEINITIALIZED
            | CUDA_ERROR_DEVICE_UNAVAILABLE
            | CUDA_ERROR_NO_DEVICE
            | CUDA_ERROR_INVALID_DEVICE
            | CUDA_ERROR_INVALID_CONTEXT
            | CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUDA_ERROR_SYSTEM_NOT_READY
            | CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
            | CUDA_ERROR_MPS_CONNECTION_FAILED
            | CUDA_ERROR_MPS_RPC_FAILURE
            | CUDA_ERROR_MPS_SERVER_NOT_READY
            | CUDA_ERROR_MPS_CLIENT_TERMINATED
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_stay_lose_the_device() {
        use CUresult::*;
        let check = |error, is_lost| assert_eq!(is_sticky(error), is_lost, "{error:?}");
        for error in [
            CUDA_ERROR_ILLEGAL_ADDRESS,
            CUDA_ERROR_LAUNCH_FAILED,
            CUDA_ERROR_ECC_UNCORRECTABLE,
            CUDA_ERROR_CONTEXT_IS_DESTROYED,
            CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
        ] {
            check(error, true);
        }
        for error in [
            CUDA_ERROR_OUT_OF_MEMORY,
            CUDA_ERROR_INVALID_VALUE,
            CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
            CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
        ] {
            check(error, false);
        }
    }
}
