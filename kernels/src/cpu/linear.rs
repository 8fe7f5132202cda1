//! Packed matrices times rows of activations.
//!
//! The contract, the same on every instruction set, for any batch, threads and tiling: for every group of
//! columns that shares a scale, in order,
//! ```text
//! I = sum of (q - offset) X    exact in i32
//! y = fma(f32(I), d * s, y)
//! y = fma(m, s * sum X, y)     formats with a minimum
//! ```
//! and for dense weights y = fma(w, x, y) for each column. Bias, activation and residual come after.
//! Prompts on a matrix unit keep the contract of `wide` instead.

mod block_tile;
mod dense_tile;
pub(crate) mod finish;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
pub(crate) mod matrix_unit;
pub(crate) mod multiply;
pub(crate) mod taken;
pub(crate) mod tile;
pub(crate) mod wide;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
mod wide_panel;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
mod wide_tile;
