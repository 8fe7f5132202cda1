//! One block of each format, taken apart into integers.

use half::f16;

use super::{BlockFormat, WeightType};

/// The parts of a block; what a format lacks stays 0.
pub(crate) struct Block {
    /// f16 bits.
    pub(crate) d: u16,
    /// f16 bits of m, or of the K types' dmin, which multiplies `mins` and is subtracted.
    pub(crate) m: u16,
    /// Of the K types, one a group.
    pub(crate) scales: [i8; 16],
    /// Of the K types, one a group.
    pub(crate) mins: [u8; 16],
    /// In the order of the row.
    pub(crate) quants: [u8; 256],
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

impl Block {
    /// `bytes` are one block of a block-wise type.
    pub(crate) fn decode(weight_type: WeightType, bytes: &[u8]) -> Self {
        let mut block = Self::EMPTY;
        block.read(weight_type, bytes);
        block
    }

    /// As `decode`, over a block of the same type. Inlined, for weight types known to the compiler.
    #[inline(always)]
    pub(crate) fn read(&mut self, weight_type: WeightType, bytes: &[u8]) {
        let bytes = &bytes[..weight_type.block_bytes()];
        match weight_type {
            WeightType::Q4_0 => self.q4_0(bytes),
            WeightType::Q4_1 => self.q4_1(bytes),
            WeightType::Q5_0 => self.q5_0(bytes),
            WeightType::Q5_1 => self.q5_1(bytes),
            WeightType::Q8_0 => self.q8_0(bytes),
            WeightType::Q2_K => self.q2_k(bytes),
            WeightType::Q3_K => self.q3_k(bytes),
            WeightType::Q4_K => self.q4_k(bytes),
            WeightType::Q5_K => self.q5_k(bytes),
            WeightType::Q6_K => self.q6_k(bytes),
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => {
                unreachable!("dense types have no blocks")
            }
        }
    }

    pub(crate) const EMPTY: Self = Self { d: 0, m: 0, scales: [0; 16], mins: [0; 16], quants: [0; 256] };

    /// The numbers that the block's weights are. Inlined, for formats known to the compiler.
    #[inline(always)]
    pub(crate) fn weights(&self, format: BlockFormat, out: &mut [f32]) {
        let group_elements = format.group_elements();
        for (group, out) in out.chunks_exact_mut(group_elements).enumerate() {
            let (d, m) = self.scales_of(format, group);
            for (q, out) in self.quants[group * group_elements..].iter().zip(out) {
                *out = format.weight(*q, d, m);
            }
        }
    }

    /// (d, m) of a group, exact in f32: an f16 times 6 or 8 bits.
    #[inline(always)]
    pub(crate) fn scales_of(&self, format: BlockFormat, group: usize) -> (f32, f32) {
        let (d, m) = (f16::from_bits(self.d).to_f32(), f16::from_bits(self.m).to_f32());
        if format.subs == 1 {
            return (d, m);
        }
        (d * f32::from(self.scales[group]), -(m * f32::from(self.mins[group])))
    }

    /// 16 bytes: low nibbles first, high nibbles 16 on.
    #[inline(always)]
    fn nibbles(&mut self, bytes: &[u8]) {
        for (j, byte) in bytes[..16].iter().enumerate() {
            self.quants[j] = byte & 15;
            self.quants[j + 16] = byte >> 4;
        }
    }

    /// Fifth bits: bit j is that of quant j.
    #[inline(always)]
    fn fifth_bits(&mut self, bytes: &[u8]) {
        let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        for (step, q) in self.quants[..32].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // Four bits to four bytes: the factor's ones are 7 bits apart.
            let spread = (bits >> (4 * step) & 15).wrapping_mul(0x0020_4081) & 0x0101_0101;
            *q = (u32::from_le_bytes(*q) | spread << 4).to_le_bytes();
        }
    }

    #[inline(always)]
    fn q4_0(&mut self, bytes: &[u8]) {
        self.d = u16_at(bytes, 0);
        self.nibbles(&bytes[2..]);
    }

    #[inline(always)]
    fn q4_1(&mut self, bytes: &[u8]) {
        self.d = u16_at(bytes, 0);
        self.m = u16_at(bytes, 2);
        self.nibbles(&bytes[4..]);
    }

    #[inline(always)]
    fn q5_0(&mut self, bytes: &[u8]) {
        self.d = u16_at(bytes, 0);
        self.nibbles(&bytes[6..]);
        self.fifth_bits(&bytes[2..]);
    }

    #[inline(always)]
    fn q5_1(&mut self, bytes: &[u8]) {
        self.d = u16_at(bytes, 0);
        self.m = u16_at(bytes, 2);
        self.nibbles(&bytes[8..]);
        self.fifth_bits(&bytes[4..]);
    }

    /// d, 32 signed bytes.
    #[inline(always)]
    fn q8_0(&mut self, bytes: &[u8]) {
        self.d = u16_at(bytes, 0);
        for (q, byte) in self.quants.iter_mut().zip(&bytes[2..34]) {
            *q = byte ^ 0x80;
        }
    }

    /// Two bits of each quant: 128 weights in 32 bytes, 32 weights a bit pair.
    #[inline(always)]
    fn two_bits(&mut self, bytes: &[u8]) {
        for (quants, bytes) in self.quants.chunks_exact_mut(128).zip(bytes.chunks_exact(32)) {
            for (pair, quants) in quants.chunks_exact_mut(32).enumerate() {
                for (q, byte) in quants.iter_mut().zip(bytes) {
                    *q = byte >> (pair * 2) & 3;
                }
            }
        }
    }

    /// One bit more of each quant, at `position`: bit i of 32 bytes is that of 32 quants.
    #[inline(always)]
    fn one_bit(&mut self, bytes: &[u8], position: usize) {
        for (i, quants) in self.quants.chunks_exact_mut(32).enumerate() {
            for (q, byte) in quants.iter_mut().zip(bytes) {
                *q |= (byte >> i & 1) << position;
            }
        }
    }

    /// 16 bytes (minimum | scale), 64 bytes of bit pairs, d, dmin.
    #[inline(always)]
    fn q2_k(&mut self, bytes: &[u8]) {
        for (i, byte) in bytes[..16].iter().enumerate() {
            self.scales[i] = (byte & 15) as i8;
            self.mins[i] = byte >> 4;
        }
        self.two_bits(&bytes[16..80]);
        self.d = u16_at(bytes, 80);
        self.m = u16_at(bytes, 82);
    }

    /// 32 bytes of third bits, 64 bytes of bit pairs, 12 bytes of 6-bit scales, d.
    #[inline(always)]
    fn q3_k(&mut self, bytes: &[u8]) {
        self.two_bits(&bytes[32..96]);
        self.one_bit(&bytes[..32], 2);
        let packed = &bytes[96..108];
        for (i, scale) in self.scales.iter_mut().enumerate() {
            let low = packed[i % 8] >> (i / 8 * 4) & 15;
            let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
            *scale = (low | high << 4) as i8 - 32;
        }
        self.d = u16_at(bytes, 108);
    }

    /// d, dmin, 12 bytes of 6-bit scales and minima: the head of Q4_K and Q5_K.
    #[inline(always)]
    fn k_head(&mut self, bytes: &[u8]) {
        self.d = u16_at(bytes, 0);
        self.m = u16_at(bytes, 2);
        let packed = &bytes[4..16];
        for i in 0..4 {
            self.scales[i] = (packed[i] & 63) as i8;
            self.mins[i] = packed[i + 4] & 63;
            self.scales[i + 4] = (packed[i + 8] & 15 | packed[i] >> 6 << 4) as i8;
            self.mins[i + 4] = packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4;
        }
    }

    /// 64 weights in 32 bytes: low nibbles, then high nibbles.
    #[inline(always)]
    fn k_nibbles(&mut self, bytes: &[u8]) {
        for (quants, bytes) in self.quants.chunks_exact_mut(64).zip(bytes.chunks_exact(32)) {
            let (low, high) = quants.split_at_mut(32);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                *low = byte & 15;
                *high = byte >> 4;
            }
        }
    }

    #[inline(always)]
    fn q4_k(&mut self, bytes: &[u8]) {
        self.k_head(bytes);
        self.k_nibbles(&bytes[16..144]);
    }

    /// As Q4_K, with 32 bytes of fifth bits before the nibbles.
    #[inline(always)]
    fn q5_k(&mut self, bytes: &[u8]) {
        self.k_head(bytes);
        self.k_nibbles(&bytes[48..176]);
        self.one_bit(&bytes[16..48], 4);
    }

    /// 128 bytes of nibbles, 64 bytes of bit pairs, 16 signed scales, d.
    #[inline(always)]
    fn q6_k(&mut self, bytes: &[u8]) {
        for (i, quants) in self.quants.chunks_exact_mut(32).enumerate() {
            let (half, quarter) = (i / 4, i % 4);
            let low = &bytes[half * 64 + quarter % 2 * 32..][..32];
            let high = &bytes[128 + half * 32..][..32];
            for ((q, low), high) in quants.iter_mut().zip(low).zip(high) {
                *q = low >> (quarter / 2 * 4) & 15 | (high >> (quarter * 2) & 3) << 4;
            }
        }
        for (scale, byte) in self.scales.iter_mut().zip(&bytes[192..208]) {
            *scale = *byte as i8;
        }
        self.d = u16_at(bytes, 208);
    }
}
