//! Packed matrices times rows of activations.
//!
//! The contract, the same on every instruction set, for any batch, threads and tiling: for every group of
//! columns that shares a scale, in order,
//! ```text
//! I = sum of (q - offset) X    exact in i32
//! t = fma(f32(I), d, t)
//! t = fma(m, sum X, t)         formats with a minimum
//! ```
//! then, for every 128 columns of activations that share a scale, y = fma(t, s, y) and t = 0;
//! for dense weights y = fma(w, x, y) for each column. Bias, activation and residual come after.
//! Prompts on a matrix unit keep the contract of `wide` instead.

mod block_tile;
mod dense_tile;
pub(crate) mod estimate;
mod estimate_tile;
mod expand;
pub(crate) mod finish;
pub(crate) mod largest;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
pub(crate) mod matrix_unit;
pub(crate) mod multiply;
mod runs;
pub(crate) mod shares;
pub(crate) mod taken;
pub(crate) mod tile;
pub(crate) mod wide;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
mod wide_panel;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
mod wide_tile;
mod word_tile;
