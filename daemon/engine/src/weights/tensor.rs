//! One named tensor inside a model file.

use half::{bf16, f16};

use super::WeightType;

/// A tensor's description and its bytes in the file, whose count fits `dtype` and `shape`.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    pub name: &'a str,
    pub dtype: WeightType,
    /// Row-major, rows first; no dimension is 0.
    pub shape: Vec<usize>,
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// All elements as f32, exactly.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.elements()];
        self.dtype.dequantise(self.bytes, &mut out);
        out
    }

    /// Offset in `bytes` of the first number that is infinite or not a number: an element of a dense
    /// tensor, a scale of a quantised one.
    pub fn first_non_finite(&self) -> Option<usize> {
        let finds = |width: usize, is_finite: fn(&[u8]) -> bool| {
            self.bytes.chunks_exact(width).position(|number| !is_finite(number)).map(|index| index * width)
        };
        match self.dtype {
            WeightType::F32 => finds(4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite()),
            WeightType::F16 => finds(2, |b| f16::from_le_bytes([b[0], b[1]]).is_finite()),
            WeightType::BF16 => finds(2, |b| bf16::from_le_bytes([b[0], b[1]]).is_finite()),
            quantised => self.first_non_finite_scale(scale_offsets(quantised)),
        }
    }

    fn first_non_finite_scale(&self, offsets: &[usize]) -> Option<usize> {
        let block_bytes = self.dtype.block_bytes();
        self.bytes.chunks_exact(block_bytes).enumerate().find_map(|(index, block)| {
            let bad = |&&at: &&usize| !f16::from_le_bytes([block[at], block[at + 1]]).is_finite();
            offsets.iter().find(bad).map(|at| index * block_bytes + at)
        })
    }
}

/// Where a block's f16 scales (and minima) stand; its other bytes are integers.
fn scale_offsets(quantised: WeightType) -> &'static [usize] {
    match quantised {
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => &[],
        WeightType::Q4_0 | WeightType::Q5_0 | WeightType::Q8_0 => &[0],
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4_K | WeightType::Q5_K => &[0, 2],
        WeightType::Q2_K => &[80, 82],
        WeightType::Q3_K => &[108],
        WeightType::Q6_K => &[208],
    }
}
