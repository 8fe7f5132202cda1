//! The block formats of GGUF files: how many weights and bytes a block has, and what its bytes mean.
//!
//! Source of the formats: ggml's `ggml-common.h` and its reference dequantisation. Every format is read as
//! integers with one scale and one offset a group: w = scale * q + offset. Both are exact in f32.

use half::{bf16, f16};

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // the names that files and people use
pub enum WeightType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Weights of a "K" super-block.
pub const SUPER_BLOCK: usize = 256;

/// The integers of one block: w\[i\] = scale\[i / group\] * q\[i\] + offset\[i / group\].
#[derive(Clone, Debug)]
pub struct Quants {
    pub q: [i8; SUPER_BLOCK],
    pub scale: [f32; 16],
    pub offset: [f32; 16],
}

impl Default for Quants {
    fn default() -> Self {
        Quants { q: [0; SUPER_BLOCK], scale: [0.0; 16], offset: [0.0; 16] }
    }
}

impl WeightType {
    pub const ALL: [WeightType; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
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
    ];

    /// The type's number in GGUF files.
    pub fn ggml_id(self) -> u32 {
        self.facts().0
    }

    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|weight_type| weight_type.ggml_id() == id)
    }

    /// Weights of a block; 1 for floats.
    pub fn block_elements(self) -> usize {
        self.facts().1
    }

    pub fn block_bytes(self) -> usize {
        self.facts().2
    }

    /// Weights that share a scale; `None` for floats.
    pub fn group_elements(self) -> Option<usize> {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => None,
            Self::Q2_K | Self::Q3_K | Self::Q6_K => Some(16),
            _ => Some(32),
        }
    }

    pub fn name(self) -> &'static str {
        self.facts().3
    }

    /// GGUF number, weights and bytes of a block, name.
    fn facts(self) -> (u32, usize, usize, &'static str) {
        match self {
            Self::F32 => (0, 1, 4, "F32"),
            Self::F16 => (1, 1, 2, "F16"),
            Self::BF16 => (30, 1, 2, "BF16"),
            Self::Q4_0 => (2, 32, 18, "Q4_0"),
            Self::Q4_1 => (3, 32, 20, "Q4_1"),
            Self::Q5_0 => (6, 32, 22, "Q5_0"),
            Self::Q5_1 => (7, 32, 24, "Q5_1"),
            Self::Q8_0 => (8, 32, 34, "Q8_0"),
            Self::Q2_K => (10, 256, 84, "Q2_K"),
            Self::Q3_K => (11, 256, 110, "Q3_K"),
            Self::Q4_K => (12, 256, 144, "Q4_K"),
            Self::Q5_K => (13, 256, 176, "Q5_K"),
            Self::Q6_K => (14, 256, 210, "Q6_K"),
        }
    }

    /// The integers, scales and offsets of one block of `block_bytes` bytes; not for floats.
    pub fn quants(self, block: &[u8], out: &mut Quants) {
        assert_eq!(block.len(), self.block_bytes(), "{self} block");
        match self {
            Self::F32 | Self::F16 | Self::BF16 => panic!("{self} has no blocks of integers"),
            Self::Q4_0 => small(block, Small { high_bits: None, offset: Offset::Steps(-8.0) }, out),
            Self::Q4_1 => small(block, Small { high_bits: None, offset: Offset::Stored }, out),
            Self::Q5_0 => small(block, Small { high_bits: Some(2), offset: Offset::Steps(-16.0) }, out),
            Self::Q5_1 => small(block, Small { high_bits: Some(4), offset: Offset::Stored }, out),
            Self::Q8_0 => q8_0(block, out),
            Self::Q2_K => q2_k(block, out),
            Self::Q3_K => q3_k(block, out),
            Self::Q4_K => q45_k(block, None, out),
            Self::Q5_K => q45_k(block, Some(&block[16..48]), out),
            Self::Q6_K => q6_k(block, out),
        }
    }

    /// The weights as f32: `out.len()` of them, whole blocks.
    pub fn dequantise(self, bytes: &[u8], out: &mut [f32]) {
        let (elements, size) = (self.block_elements(), self.block_bytes());
        assert!(
            out.len() % elements == 0 && bytes.len() == out.len() / elements * size,
            "{} bytes of {self} are not {} weights",
            bytes.len(),
            out.len()
        );
        let Some(group) = self.group_elements() else { return self.floats(bytes, out) };
        let mut quants = Quants::default();
        for (block, out) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(elements)) {
            self.quants(block, &mut quants);
            for (i, (out, q)) in out.iter_mut().zip(quants.q).enumerate() {
                *out = quants.scale[i / group] * f32::from(q) + quants.offset[i / group];
            }
        }
    }

    fn floats(self, bytes: &[u8], out: &mut [f32]) {
        let pairs = || bytes.as_chunks::<2>().0.iter();
        match self {
            Self::F16 => out.iter_mut().zip(pairs()).for_each(|(o, b)| *o = f16::from_le_bytes(*b).to_f32()),
            Self::BF16 => {
                out.iter_mut().zip(pairs()).for_each(|(o, b)| *o = bf16::from_le_bytes(*b).to_f32())
            }
            _ => {
                let quads = bytes.as_chunks::<4>().0.iter();
                out.iter_mut().zip(quads).for_each(|(o, b)| *o = f32::from_le_bytes(*b));
            }
        }
    }
}

impl std::fmt::Display for WeightType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Where the offset of a 4- or 5-bit block comes from.
enum Offset {
    /// This many times the scale.
    Steps(f32),
    /// The second f16 of the block.
    Stored,
}

struct Small {
    /// Where the 32 fifth bits are.
    high_bits: Option<usize>,
    offset: Offset,
}

/// Q4_0, Q4_1, Q5_0, Q5_1: nibble j is weight j (low) and j + 16 (high), at the block's end.
fn small(block: &[u8], format: Small, out: &mut Quants) {
    let d = half(block, 0);
    out.scale[0] = d;
    out.offset[0] = match format.offset {
        Offset::Steps(steps) => steps * d,
        Offset::Stored => half(block, 2),
    };
    let high = format
        .high_bits
        .map_or(0, |at| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]));
    let nibbles = &block[block.len() - 16..];
    for j in 0..16 {
        out.q[j] = (nibbles[j] & 15 | ((high >> j & 1) << 4) as u8) as i8;
        out.q[j + 16] = (nibbles[j] >> 4 | ((high >> (j + 16) & 1) << 4) as u8) as i8;
    }
}

fn q8_0(block: &[u8], out: &mut Quants) {
    out.scale[0] = half(block, 0);
    out.offset[0] = 0.0;
    for (q, byte) in out.q.iter_mut().zip(&block[2..]) {
        *q = *byte as i8;
    }
}

/// 16 bytes of (4-bit scale, 4-bit minimum), 64 of 2-bit integers, f16 d, f16 dmin.
fn q2_k(block: &[u8], out: &mut Quants) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (group, byte) in block[..16].iter().enumerate() {
        out.scale[group] = d * f32::from(byte & 15);
        out.offset[group] = -(dmin * f32::from(byte >> 4));
    }
    for (i, q) in out.q.iter_mut().enumerate() {
        let (half, plane, at) = (i / 128, i % 128 / 32, i % 32);
        *q = (block[16 + half * 32 + at] >> (plane * 2) & 3) as i8;
    }
}

/// 32 bytes of third bits (set: do not subtract 4), 64 of 2-bit integers, 12 of 6-bit scales, f16 d.
fn q3_k(block: &[u8], out: &mut Quants) {
    let d = half(block, 108);
    let scales = &block[96..108];
    for group in 0..16 {
        let low = scales[group % 8] >> (group / 8 * 4) & 15;
        let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        out.scale[group] = d * (f32::from(low | high << 4) - 32.0);
        out.offset[group] = 0.0;
    }
    for (i, q) in out.q.iter_mut().enumerate() {
        let (half, plane, at) = (i / 128, i % 128 / 32, i % 32);
        let low = (block[32 + half * 32 + at] >> (plane * 2) & 3) as i8;
        let third = (block[at] >> (i / 32) & 1) as i8;
        *q = low - 4 * (1 - third);
    }
}

/// f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, (32 bytes of fifth bits,) 128 of nibbles.
fn q45_k(block: &[u8], fifth_bits: Option<&[u8]>, out: &mut Quants) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let packed = &block[4..16];
    for group in 0..8 {
        let (scale, min) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let high = |at: usize| (packed[at] >> 6) << 4;
            (packed[group + 4] & 15 | high(group - 4), packed[group + 4] >> 4 | high(group))
        };
        out.scale[group] = d * f32::from(scale);
        out.offset[group] = -(dmin * f32::from(min));
    }
    let nibbles = &block[block.len() - 128..];
    for (i, q) in out.q.iter_mut().enumerate() {
        let (pair, is_high, at) = (i / 64, i % 64 / 32, i % 32);
        let low = nibbles[pair * 32 + at] >> (is_high * 4) & 15;
        let fifth = fifth_bits.map_or(0, |bits| bits[at] >> (i / 32) & 1);
        *q = (low | fifth << 4) as i8;
    }
}

/// 128 bytes of low nibbles, 64 of high 2-bit pairs, 16 i8 scales, f16 d.
fn q6_k(block: &[u8], out: &mut Quants) {
    let d = half(block, 208);
    for group in 0..16 {
        out.scale[group] = d * f32::from(block[192 + group] as i8);
        out.offset[group] = 0.0;
    }
    for (i, q) in out.q.iter_mut().enumerate() {
        let (half, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let low = block[half * 64 + quarter % 2 * 32 + at] >> (quarter / 2 * 4) & 15;
        let high = block[128 + half * 32 + at] >> (quarter * 2) & 3;
        *q = (low | high << 4) as i8 - 32;
    }
}
