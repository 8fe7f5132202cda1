//! Descriptions of matrices for Hopper's copy engine: boxes of 64 columns by 128 rows of f16, swizzled by 128 bytes.

use cudarc::driver::sys::{self, CUtensorMap};

use super::device::{CudaError, During};

const BOX_COLUMNS: u32 = 64;
const BOX_ROWS: u32 = 128;

/// As the driver fills it; passed to kernels by value.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TensorMap([u64; 16]);

impl TensorMap {
    /// Of rows of `stride` halves at `address`. What lies outside reads as zeros.
    pub(crate) fn new(address: u64, rows: usize, stride: usize) -> Result<Self, CudaError> {
        let mut map = TensorMap::default();
        let sizes = [stride as u64, rows as u64];
        let row_bytes = [stride as u64 * 2];
        let box_sizes = [BOX_COLUMNS, BOX_ROWS];
        let steps = [1, 1];
        // SAFETY: the driver reads the arrays, which have as many elements as the rank asks for, and writes 128 bytes to
        // `map`, which is as large and aligned to 64. It does not touch the memory at `address`.
        let encoded = unsafe {
            sys::cuTensorMapEncodeTiled(
                (&raw mut map).cast::<CUtensorMap>(),
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                2,
                address as *mut std::ffi::c_void,
                sizes.as_ptr(),
                row_bytes.as_ptr(),
                box_sizes.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        encoded.result().during("cannot describe a matrix to the copy engine")?;
        Ok(map)
    }
}
