//! The weight formats of GGUF and safetensors: their blocks, and what number each weight is.
//!
//! A block-wise weight is `d * (q - offset)` or `d * q + m`, with `q` an unsigned integer and `d`, `m`
//! shared by a group of 16 or 32; the K types derive them from integers and two f16 a block of 256.
//! Source: ggml-quants.c and gguf-py/gguf/quants.py; a golden file from the latter pins every type.

use std::fmt;

use half::{bf16, f16};

mod decode;
mod finite;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use decode::Block;

/// How the weights of a tensor are stored; the discriminants are ggml's type numbers.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum WeightType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    BF16 = 30,
}

impl WeightType {
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::BF16,
    ];

    /// The type's number in GGUF files.
    pub const fn ggml_id(self) -> u32 {
        self as u32
    }

    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.ggml_id() == id)
    }

    /// ggml's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::BF16 => "BF16",
        }
    }

    /// Consecutive weights of a row that share a block; a row is whole blocks.
    pub const fn block_elements(self) -> usize {
        match BlockFormat::of(self) {
            None => 1,
            Some(format) => format.subs * 32,
        }
    }

    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Bytes of `elements` weights; `None` if they are not whole blocks, or too many.
    pub fn bytes_of(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }

    /// The numbers that the weights in `bytes` are, as ggml computes them in f32.
    ///
    /// # Panics
    /// If `bytes` are not the blocks of `out.len()` weights.
    pub fn dequantise(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(self.bytes_of(out.len()), Some(bytes.len()), "bytes of {} {self} weights", out.len());
        let Some(format) = BlockFormat::of(self) else {
            for (bytes, out) in bytes.chunks_exact(self.block_bytes()).zip(out) {
                *out = self.dense_weight(bytes);
            }
            return;
        };
        let blocks = bytes.chunks_exact(self.block_bytes());
        for (bytes, out) in blocks.zip(out.chunks_exact_mut(self.block_elements())) {
            Block::decode(self, bytes).weights(format, out);
        }
    }

    /// One weight of a dense type.
    pub(crate) fn dense_weight(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::BF16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            _ => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the block formats have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockFormat {
    /// Of a quant.
    pub(crate) bits: usize,
    /// Groups with a scale of their own in 32 weights: 1 or 2.
    pub(crate) groups: usize,
    /// Runs of 32 weights in a block: 1, or 8 for the K types, whose groups have integer scales.
    pub(crate) subs: usize,
    pub(crate) zero: Zero,
}

/// What makes a weight from an unsigned quant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zero {
    /// d * (q - 2^shift)
    Offset { shift: u32 },
    /// d * q + m
    Minimum,
}

impl BlockFormat {
    /// `None` for the dense types.
    pub(crate) const fn of(weight_type: WeightType) -> Option<Self> {
        let (bits, groups, subs, zero) = match weight_type {
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => return None,
            WeightType::Q4_0 => (4, 1, 1, Zero::Offset { shift: 3 }),
            WeightType::Q4_1 => (4, 1, 1, Zero::Minimum),
            WeightType::Q5_0 => (5, 1, 1, Zero::Offset { shift: 4 }),
            WeightType::Q5_1 => (5, 1, 1, Zero::Minimum),
            WeightType::Q8_0 => (8, 1, 1, Zero::Offset { shift: 7 }),
            WeightType::Q2_K => (2, 2, 8, Zero::Minimum),
            WeightType::Q3_K => (3, 2, 8, Zero::Offset { shift: 2 }),
            WeightType::Q4_K => (4, 1, 8, Zero::Minimum),
            WeightType::Q5_K => (5, 1, 8, Zero::Minimum),
            WeightType::Q6_K => (6, 2, 8, Zero::Offset { shift: 5 }),
        };
        Some(Self { bits, groups, subs, zero })
    }

    /// The same with quants of 8 bits.
    pub(crate) const fn expanded(self) -> Self {
        Self { bits: 8, ..self }
    }

    /// The same with quants of 16 bits.
    pub(crate) const fn words(self) -> Self {
        Self { bits: 16, ..self }
    }

    pub(crate) const fn group_elements(self) -> usize {
        32 / self.groups
    }

    pub(crate) const fn has_minimum(self) -> bool {
        matches!(self.zero, Zero::Minimum)
    }

    /// ggml multiplies, rounds, and then adds.
    #[inline(always)]
    pub(crate) fn weight(self, q: u8, d: f32, m: f32) -> f32 {
        match self.zero {
            Zero::Offset { shift } => d * (i32::from(q) - (1 << shift)) as f32,
            Zero::Minimum => d * f32::from(q) + m,
        }
    }
}
