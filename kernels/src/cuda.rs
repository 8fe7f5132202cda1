//! Arithmetic of a decoder on one NVIDIA GPU: the driver is loaded at run time, kernels are PTX that it compiles.
//!
//! A row's arithmetic never depends on the other rows: each kernel's source says its contract (kernels/cuda/*.cu).

mod args;
mod buffer;
mod cache;
mod code;
mod device;
mod discover;
mod early;
mod error;
mod matrix;
mod ops;
mod rows;
mod sizes;
mod step;
mod table;
mod tensor_map;
mod tiles;

pub use buffer::Buffer;
pub use cache::CudaKvCache;
pub use device::{CudaError, probe};
pub use discover::{Gpu, Gpus, NoGpu, UnusableGpu, gpus};
pub use matrix::{CudaMatrix, MatrixError};
pub use ops::{
    Activation, Attention, Cuda, Ended, Epilogue, HeadNorms, Linear, NormInput, Rotary, StepLimits, Work,
};
pub use rows::{CudaRows, RowsUse};
pub use sizes::{matrix_bytes, vector_bytes};
pub use step::StepView;
pub use table::CudaTable;
