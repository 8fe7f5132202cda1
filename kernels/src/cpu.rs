//! The processor's kernels: each is written once over 16 lanes (`simd`) and compiled for every
//! instruction set; all of them give the same bits.

pub mod activation;
mod ahead;
pub mod attention;
pub mod block;
pub(crate) mod digits;
pub mod embedding;
mod exp;
pub mod head;
pub mod isa;
pub mod kv_cache;
pub(crate) mod linear;
pub mod memory;
mod norm;
pub mod ops;
pub mod pack;
pub mod plain;
pub mod plain_read;
pub mod pool;
pub mod rotary;
pub mod rows;
pub mod simd;
