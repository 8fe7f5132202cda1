//! The numbers of a file that must be finite: elements of dense types, scales of the others.

use half::{bf16, f16};

use super::WeightType;

/// All ones: infinite or not a number.
const F16_EXPONENT: u16 = 0x7C00;

impl WeightType {
    /// Offset in `bytes`, which are whole blocks, of the first number that is infinite or not a number.
    pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        let finds = |width: usize, is_finite: fn(&[u8]) -> bool| {
            bytes.chunks_exact(width).position(|number| !is_finite(number)).map(|index| index * width)
        };
        match self {
            Self::F32 => finds(4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite()),
            Self::F16 => finds(2, |b| f16::from_le_bytes([b[0], b[1]]).is_finite()),
            Self::BF16 => finds(2, |b| bf16::from_le_bytes([b[0], b[1]]).is_finite()),
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => self.first_bad_scale(bytes, &[0]),
            Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K => self.first_bad_scale(bytes, &[0, 2]),
            Self::Q2_K => self.first_bad_scale(bytes, &[80, 82]),
            Self::Q3_K => self.first_bad_scale(bytes, &[108]),
            Self::Q6_K => self.first_bad_scale(bytes, &[208]),
        }
    }

    /// `offsets`: where a block's f16 scales (and minima) stand; its other bytes are integers.
    fn first_bad_scale(self, bytes: &[u8], offsets: &[usize]) -> Option<usize> {
        let block_bytes = self.block_bytes();
        bytes.chunks_exact(block_bytes).enumerate().find_map(|(index, block)| {
            let bad =
                |&&at: &&usize| u16::from_le_bytes([block[at], block[at + 1]]) & F16_EXPONENT == F16_EXPONENT;
            offsets.iter().find(bad).map(|at| index * block_bytes + at)
        })
    }
}
