//! A weight matrix on the device: dense ones as rows of f16 times a power of two, block-wise ones as tiles
//! (kernels/cuda/format.cuh). Nothing is lost of bf16, f16 and block-wise weights; f32 ones are rounded to f16.

use half::{bf16, f16};

use super::args::PackDenseArgs;
use super::buffer::Buffer;
use super::device::{CudaError, Device, During, Grid};
use super::tensor_map::TensorMap;
use super::tiles::{self, Tiles};
use crate::cpu::block::{BlockFormat, WeightType};

/// Rows of dense matrices begin at multiples of 128 bytes.
const COLUMNS_ALIGNED: usize = 64;
/// Host bytes that are packed at once.
const STAGING_BYTES: usize = 64 << 20;

/// As kernels/cuda/format.cuh numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(crate) enum Format {
    Dense = 0,
    Q4D = 1,
    Q4Dm = 2,
    Q8D = 3,
    Q8Dm = 4,
    Q4Fm = 5,
    Q8Fm = 6,
    Q4Fm16 = 7,
    Q8Fm16 = 8,
}

/// A weight matrix in device memory.
#[derive(Debug)]
pub struct CudaMatrix {
    pub(crate) format: Format,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) data: Buffer,
    pub(crate) scales: Buffer,
    /// What stored weights are multiplied with.
    pub(crate) scale: f32,
    /// Of rows, in elements; dense only.
    pub(crate) stride: usize,
    /// Subtracted from stored integers.
    pub(crate) offset: i32,
    /// No weight is larger.
    pub(crate) largest: f32,
    /// For Hopper's copy engine; dense only.
    pub(crate) map: Option<TensorMap>,
}

impl CudaMatrix {
    pub fn bytes(&self) -> usize {
        self.data.bytes() + self.scales.bytes()
    }

    /// Same shape and format.
    pub(crate) fn is_like(&self, other: &CudaMatrix) -> bool {
        (self.format, self.rows, self.columns, self.offset)
            == (other.format, other.rows, other.columns, other.offset)
    }

    /// Runs of 32 columns.
    pub(crate) fn groups(&self) -> usize {
        self.columns.div_ceil(32)
    }
}

/// Why a matrix cannot be placed.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// An infinite number or none at byte `offset`.
    #[error("a number that is not finite, at byte {offset}")]
    NotFinite { offset: usize },
    #[error("{weight_type} rows of {columns} columns are not whole runs of 32")]
    Columns { weight_type: WeightType, columns: usize },
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

pub(crate) fn load(
    device: &mut Device,
    weight_type: WeightType,
    [rows, columns]: [usize; 2],
    bytes: &[u8],
) -> Result<CudaMatrix, MatrixError> {
    match BlockFormat::of(weight_type) {
        None => load_dense(device, weight_type, [rows, columns], bytes),
        Some(_) => load_blocks(device, weight_type, [rows, columns], bytes),
    }
}

fn load_blocks(
    device: &mut Device,
    weight_type: WeightType,
    [rows, columns]: [usize; 2],
    bytes: &[u8],
) -> Result<CudaMatrix, MatrixError> {
    if !columns.is_multiple_of(32) {
        return Err(MatrixError::Columns { weight_type, columns });
    }
    if let Some(offset) = weight_type.first_non_finite(bytes) {
        return Err(MatrixError::NotFinite { offset });
    }
    let (format, offset) = tiles::format_of(weight_type);
    let Tiles { data, scales, largest } = tiles::pack(weight_type, rows, columns, bytes);
    Ok(CudaMatrix {
        format,
        rows,
        columns,
        data: allocate(device, "weights", data.len(), |stream| Buffer::of(stream, &data))?,
        scales: allocate(device, "weights", scales.len(), |stream| Buffer::of(stream, &scales))?,
        scale: 1.0,
        stride: 0,
        offset,
        largest,
        map: None,
    })
}

fn load_dense(
    device: &mut Device,
    weight_type: WeightType,
    [rows, columns]: [usize; 2],
    bytes: &[u8],
) -> Result<CudaMatrix, MatrixError> {
    let largest = largest(weight_type, bytes);
    if !largest.is_finite() {
        let offset = weight_type.first_non_finite(bytes).unwrap_or(0);
        return Err(MatrixError::NotFinite { offset });
    }
    let up = scale_up(largest);
    let stride = columns.next_multiple_of(COLUMNS_ALIGNED);
    device.prepare("pack", "pack_dense")?;
    let data =
        allocate(device, "weights", rows * stride * 2, |stream| Buffer::zeroed(stream, rows * stride * 2))?;
    let row_bytes = columns * weight_type.block_bytes();
    let rows_at_once = (STAGING_BYTES / row_bytes).clamp(1, rows);
    let mut staging = allocate(device, "weights on their way", rows_at_once * row_bytes, |stream| {
        Buffer::zeroed(stream, rows_at_once * row_bytes)
    })?;
    for (index, chunk) in bytes.chunks(rows_at_once * row_bytes).enumerate() {
        staging.write(chunk).during("cannot copy weights to the GPU")?;
        let args = PackDenseArgs {
            from: staging.address(),
            to: data.address() + (index * rows_at_once * stride * 2) as u64,
            scale: up,
            dense_type: match weight_type {
                WeightType::F16 => 1,
                WeightType::BF16 => 2,
                _ => 0,
            },
            rows: (chunk.len() / row_bytes) as i32,
            columns: columns as i32,
            stride: stride as i32,
        };
        let grid = Grid { blocks: (chunk.len() / row_bytes, 1, 1), threads: 256, shared_bytes: 0 };
        device.launch("pack_dense", grid, &args)?;
        device.synchronise()?;
    }
    let scales = allocate(device, "weights", 0, |stream| Buffer::zeroed(stream, 0))?;
    let map = device.is_hopper().then(|| TensorMap::new(data.address(), rows, stride)).transpose()?;
    let (format, scale) = (Format::Dense, 1.0 / up);
    Ok(CudaMatrix { format, rows, columns, data, scales, scale, stride, offset: 0, largest, map })
}

/// The power of two that brings the largest weight to between 2^13 and 2^14: f16 then keeps all bits of bf16 weights
/// down to 2^-27 of it.
pub(crate) fn scale_up(largest: f32) -> f32 {
    match largest > 0.0 {
        true => (13.0 - largest.log2().floor()).clamp(-100.0, 100.0).exp2(),
        false => 1.0,
    }
}

/// The largest magnitude of dense weights, infinite if one is not finite. Memory is read once, by all threads.
fn largest(weight_type: WeightType, bytes: &[u8]) -> f32 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = bytes.len().div_ceil(threads).next_multiple_of(64).max(64);
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            bytes.chunks(part).map(|bytes| scope.spawn(move || largest_of(weight_type, bytes))).collect();
        parts.into_iter().map(|part| part.join().unwrap_or(f32::INFINITY)).fold(0.0, f32::max)
    })
}

fn largest_of(weight_type: WeightType, bytes: &[u8]) -> f32 {
    // Magnitudes of floats are ordered as their bits are; infinities and NaNs come last.
    let largest16 =
        || bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b) & 0x7FFF).max().unwrap_or(0);
    let largest = match weight_type {
        WeightType::F16 => f16::from_bits(largest16()).to_f32(),
        WeightType::BF16 => bf16::from_bits(largest16()).to_f32(),
        _ => {
            let bits = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b) & 0x7FFF_FFFF).max();
            f32::from_bits(bits.unwrap_or(0))
        }
    };
    if largest.is_finite() { largest } else { f32::INFINITY }
}

/// An allocation whose failure for want of memory says how much there is.
pub(crate) fn allocate(
    device: &Device,
    what: &'static str,
    bytes: usize,
    allocation: impl FnOnce(
        &std::sync::Arc<cudarc::driver::CudaStream>,
    ) -> Result<Buffer, cudarc::driver::DriverError>,
) -> Result<Buffer, CudaError> {
    allocation(&device.stream).map_err(|error| {
        let (free_bytes, total_bytes) = device.memory().unwrap_or((0, 0));
        match error.0 {
            cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                CudaError::OutOfMemory { what, bytes: bytes as u64, free_bytes, total_bytes }
            }
            _ => CudaError::Driver {
                what: "cannot allocate memory of the GPU",
                reason: super::discover::message(error),
            },
        }
    })
}
