//! The processor's kernels: each is written once over 16 lanes (`simd`) and compiled for every
//! instruction set; all of them give the same bits.

pub mod block;
pub mod isa;
pub mod memory;
pub mod ops;
pub mod pool;
pub mod rows;
pub mod simd;
