//! Arithmetic on plain slices: packed weights, SIMD kernels, a thread pool. Knows nothing of models.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
#[path = "../../e2e/src/skipped.rs"]
mod skipped;
