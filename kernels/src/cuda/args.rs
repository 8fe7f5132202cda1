//! The arguments of the kernels, one struct each, as kernels/cuda/args.cuh has them. Addresses are of device memory.

use cudarc::driver::sys::CUdeviceptr as Address;

use super::tensor_map::TensorMap;

#[cfg(test)]
mod tests;

/// Rows and slots of a step, in device memory, so that a recorded graph serves every step of its size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) rows: u32,
    pub(crate) narrow: u32,
    pub(crate) wide: u32,
    pub(crate) sampled: u32,
    pub(crate) singles: u32,
    pub(crate) tiles: u32,
    pub(crate) reserved: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Halves {
    pub(crate) narrow_hi: Address,
    pub(crate) narrow_lo: Address,
    pub(crate) sums: Address,
    pub(crate) wide: Address,
    pub(crate) scale: f32,
    pub(crate) stride: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbedArgs {
    pub(crate) counts: Address,
    pub(crate) tokens: Address,
    pub(crate) data: Address,
    pub(crate) scales: Address,
    pub(crate) out: Address,
    pub(crate) scale: f32,
    pub(crate) format: i32,
    pub(crate) columns: i32,
    pub(crate) stride: i32,
    pub(crate) out_stride: i32,
    pub(crate) offset: i32,
}

/// Which of the counts bounds a kernel's rows or slots.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Step = 0,
    Sampled = 1,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormArgs {
    pub(crate) counts: Address,
    pub(crate) x: Address,
    pub(crate) weight: Address,
    pub(crate) rows: Address,
    pub(crate) slots: Address,
    pub(crate) out: Halves,
    pub(crate) eps: f32,
    pub(crate) width: i32,
    pub(crate) x_stride: i32,
    pub(crate) counted: Counted,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RotaryArgs {
    pub(crate) counts: Address,
    pub(crate) qkv: Address,
    pub(crate) angles: Address,
    pub(crate) positions: Address,
    pub(crate) table_first: Address,
    pub(crate) blocks: Address,
    pub(crate) keys: Address,
    pub(crate) values: Address,
    pub(crate) query_norm: Address,
    pub(crate) key_norm: Address,
    pub(crate) eps: f32,
    pub(crate) qkv_stride: i32,
    pub(crate) query_heads: i32,
    pub(crate) kv_heads: i32,
    pub(crate) head_dim: i32,
    pub(crate) rotary_dims: i32,
    pub(crate) interleaved: i32,
    pub(crate) block_size: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) data: Address,
    pub(crate) scales: Address,
    pub(crate) scale: f32,
    pub(crate) rows: i32,
    pub(crate) tile_first: i32,
    pub(crate) out_first: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearArgs {
    pub(crate) parts: [Part; 3],
    pub(crate) counts: Address,
    pub(crate) x: Halves,
    pub(crate) rows: Address,
    pub(crate) out: Address,
    pub(crate) bias: Address,
    pub(crate) gated: Halves,
    pub(crate) part_count: i32,
    pub(crate) groups: i32,
    pub(crate) stride: i32,
    pub(crate) offset: i32,
    pub(crate) out_stride: i32,
    pub(crate) add: i32,
    pub(crate) activation: i32,
    pub(crate) counted: Counted,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttendArgs {
    pub(crate) counts: Address,
    pub(crate) qkv: Address,
    /// (row, position, first of its block table, slot) each.
    pub(crate) singles: Address,
    pub(crate) blocks: Address,
    pub(crate) keys: Address,
    pub(crate) values: Address,
    pub(crate) part_out: Address,
    pub(crate) part_state: Address,
    pub(crate) out: Halves,
    pub(crate) scale_log2: f32,
    pub(crate) qkv_stride: i32,
    pub(crate) query_heads: i32,
    pub(crate) kv_heads: i32,
    pub(crate) head_dim: i32,
    pub(crate) block_size: i32,
    pub(crate) parts_max: i32,
    pub(crate) first: i32,
}

/// Consecutive prompt rows of one sequence, at most 64.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) row: u32,
    pub(crate) rows: u32,
    pub(crate) position: u32,
    pub(crate) table_first: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptArgs {
    pub(crate) counts: Address,
    pub(crate) qkv: Address,
    pub(crate) tiles: Address,
    pub(crate) blocks: Address,
    pub(crate) slots: Address,
    pub(crate) keys: Address,
    pub(crate) values: Address,
    pub(crate) out: Halves,
    pub(crate) scale_log2: f32,
    pub(crate) qkv_stride: i32,
    pub(crate) query_heads: i32,
    pub(crate) kv_heads: i32,
    pub(crate) head_dim: i32,
    pub(crate) block_size: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct BestArgs {
    pub(crate) counts: Address,
    pub(crate) logits: Address,
    pub(crate) best: Address,
    pub(crate) vocab: i32,
    pub(crate) stride: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackDenseArgs {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) scale: f32,
    pub(crate) dense_type: i32,
    pub(crate) rows: i32,
    pub(crate) columns: i32,
    pub(crate) stride: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackArgs {
    pub(crate) data: Address,
    pub(crate) scales: Address,
    pub(crate) to: Address,
    pub(crate) scale: f32,
    pub(crate) format: i32,
    pub(crate) rows: i32,
    pub(crate) columns: i32,
    pub(crate) stride: i32,
    pub(crate) offset: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct WideArgs {
    pub(crate) x: TensorMap,
    pub(crate) weights: [TensorMap; 3],
    pub(crate) parts: [Part; 3],
    pub(crate) counts: Address,
    pub(crate) rows: Address,
    pub(crate) out: Address,
    pub(crate) bias: Address,
    pub(crate) gated: Address,
    pub(crate) gated_scale: f32,
    pub(crate) gated_stride: i32,
    pub(crate) part_count: i32,
    pub(crate) runs: i32,
    pub(crate) tiles: i32,
    pub(crate) out_stride: i32,
    pub(crate) add: i32,
    pub(crate) activation: i32,
}

/// A struct that a kernel of `name` takes, and nothing else.
///
/// # Safety
/// The type is `repr(C)` and lies in memory as the kernel's parameter does.
pub(crate) unsafe trait KernelArgs: Copy {}

macro_rules! kernel_args {
    ($($name:ident),*) => {$(
        // SAFETY: `repr(C)`, field by field as in args.cuh.
        unsafe impl KernelArgs for $name {}
    )*};
}
kernel_args!(
    EmbedArgs,
    NormArgs,
    RotaryArgs,
    LinearArgs,
    AttendArgs,
    PromptArgs,
    BestArgs,
    PackDenseArgs,
    UnpackArgs,
    WideArgs
);
