//! Activations on the device: floats in the order of the batch, and the halves that products read, by slot.

use super::args::Halves;
use super::buffer::Buffer;
use super::device::{CudaError, Device};
use super::matrix::allocate;
use super::tensor_map::TensorMap;

/// What rows are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsUse {
    /// Floats that are added to, and the input of products once normalised.
    Residual,
    /// Floats that products give.
    Sums,
    /// Only ever the input of products.
    Factors,
}

/// Gated values reach thousands: f16 ends at 65504, and the 2^-20 that this keeps of small ones is plenty.
const FACTOR_SCALE: f32 = 1.0 / 16.0;

/// Activations, one row a token.
#[derive(Debug)]
pub struct CudaRows {
    pub(crate) width: usize,
    pub(crate) capacity: usize,
    pub(crate) floats: Option<Buffer>,
    halves: Option<HalvesBuffer>,
}

#[derive(Debug)]
struct HalvesBuffer {
    narrow_hi: Buffer,
    narrow_lo: Buffer,
    sums: Buffer,
    wide: Buffer,
    /// Of the wide ones, for Hopper's copy engine.
    map: Option<TensorMap>,
    scale: f32,
    stride: usize,
}

impl CudaRows {
    pub(crate) fn new(
        device: &Device,
        capacity: usize,
        width: usize,
        rows_use: RowsUse,
    ) -> Result<Self, CudaError> {
        let floats = match rows_use {
            RowsUse::Factors => None,
            _ => Some(buffer(device, capacity * width * 4)?),
        };
        let stride = width.next_multiple_of(64);
        let halves = match rows_use {
            RowsUse::Sums => None,
            _ => Some(HalvesBuffer::new(device, capacity, stride, rows_use)?),
        };
        Ok(CudaRows { width, capacity, floats, halves })
    }

    /// Bytes that `new` allocates.
    pub(crate) fn bytes(is_hopper: bool, capacity: usize, width: usize, rows_use: RowsUse) -> usize {
        let stride = width.next_multiple_of(64);
        let halves = capacity * (stride * 2 * (2 + usize::from(is_hopper)) + stride / 4);
        match rows_use {
            RowsUse::Residual => capacity * width * 4 + halves,
            RowsUse::Sums => capacity * width * 4,
            RowsUse::Factors => halves,
        }
    }

    /// Of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn address(&self) -> u64 {
        self.floats.as_ref().expect("these rows have floats").address()
    }

    /// Of the wide halves; on Hopper only.
    pub(crate) fn map(&self) -> TensorMap {
        self.halves.as_ref().and_then(|halves| halves.map).expect("wide products are Hopper's")
    }

    pub(crate) fn halves(&self) -> Halves {
        let halves = self.halves.as_ref().expect("these rows are the input of products");
        Halves {
            narrow_hi: halves.narrow_hi.address(),
            narrow_lo: halves.narrow_lo.address(),
            sums: halves.sums.address(),
            wide: halves.wide.address(),
            scale: halves.scale,
            stride: halves.stride as i32,
        }
    }
}

fn buffer(device: &Device, bytes: usize) -> Result<Buffer, CudaError> {
    allocate(device, "activations", bytes, |stream| Buffer::zeroed(stream, bytes))
}

impl HalvesBuffer {
    fn new(device: &Device, capacity: usize, stride: usize, rows_use: RowsUse) -> Result<Self, CudaError> {
        let wide = buffer(device, if device.is_hopper() { capacity * stride * 2 } else { 0 })?;
        let map = device.is_hopper().then(|| TensorMap::new(wide.address(), capacity, stride)).transpose()?;
        Ok(HalvesBuffer {
            narrow_hi: buffer(device, capacity * stride * 2)?,
            narrow_lo: buffer(device, capacity * stride * 2)?,
            sums: buffer(device, capacity * stride / 16 * 4)?,
            wide,
            map,
            scale: if rows_use == RowsUse::Factors { FACTOR_SCALE } else { 1.0 },
            stride,
        })
    }
}
