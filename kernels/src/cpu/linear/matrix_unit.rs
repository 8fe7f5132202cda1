//! The matrix registers of AMX as a trait, so that tests run the code above them on a plain emulation too.
//!
//! All registers have 16 rows of 64 bytes: sums of 16 rows x 16 outputs, activations of 16 rows x 64 signed bytes (or
//! 32 bf16), or weights of 64 columns x 16 outputs, as lines of 16 outputs x 4 columns (or 2 of bf16).

use super::wide::TILE_BYTES;
use super::wide_panel::{ExpandFunction, expand};
use super::wide_tile::{WideFunction, tile};
use crate::cpu::attention::wide::{WideStepFunction, wide_step};
use crate::cpu::block::WeightType;
use crate::cpu::simd::Simd16;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(test)]
pub(crate) mod emulated;

/// The operand of `ldtilecfg`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// A `static`, since compilers have been seen to drop the stores into a local one.
pub(super) static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The code of a matrix unit that this process can use.
#[derive(Clone, Copy)]
pub(crate) struct MatrixCode {
    /// Each thread calls it before the products of a region, and `release` after them.
    pub(crate) configure: unsafe fn(),
    pub(crate) release: unsafe fn(),
    /// Of a block-wise type.
    pub(super) expand: unsafe fn(WeightType) -> ExpandFunction,
    pub(super) tile: WideFunction,
    pub(crate) attend: WideStepFunction,
}

impl MatrixCode {
    /// # Safety
    /// The processor has `S` and `U`, and the system lets this process use the unit.
    pub(crate) unsafe fn of<S: Simd16, U: MatrixUnit>() -> Self {
        Self {
            configure: U::configure,
            release: U::release,
            expand: expand::<S>,
            tile: tile::<S, U>,
            attend: wide_step::<S, U>,
        }
    }
}

/// Eight registers in the shapes of [`SHAPES`].
///
/// # Safety
/// Of all functions: the processor has the unit and the system lets this process use it; pointers are valid
/// for a register's 1024 bytes.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait MatrixUnit: Sized {
    unsafe fn configure();
    /// Back to the initial state, so that switches of context save nothing.
    unsafe fn release();
    /// This thread's registers, between `configure` and `release`; what they hold is undefined.
    unsafe fn registers() -> Self;
    unsafe fn zero<const REGISTER: usize>(&mut self);
    unsafe fn load<const REGISTER: usize>(&mut self, from: *const u8);
    unsafe fn store<const REGISTER: usize>(&mut self, to: *mut u8);
    /// Adds the products of signed bytes, exactly: sums[row][output] += activations[row] * weights[output].
    unsafe fn dot<const SUMS: usize, const ACTIVATIONS: usize, const WEIGHTS: usize>(&mut self);
    /// Adds the products of bf16, two of which lie in 32 bits: sums[row][column] += a[row] * b[column]. Numbers that
    /// are subnormal are 0.
    unsafe fn dot_bf16<const SUMS: usize, const A: usize, const B: usize>(&mut self);

    /// Registers 0 to 3.
    #[inline(always)]
    unsafe fn zero_sums(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.zero::<0>();
            self.zero::<1>();
            self.zero::<2>();
            self.zero::<3>();
        }
    }

    /// Registers 0 to 3, one behind the other: the pointer is valid for all of them.
    #[inline(always)]
    unsafe fn store_sums(&mut self, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            self.store::<0>(to);
            self.store::<1>(to.add(TILE_BYTES));
            self.store::<2>(to.add(2 * TILE_BYTES));
            self.store::<3>(to.add(3 * TILE_BYTES));
        }
    }
}
