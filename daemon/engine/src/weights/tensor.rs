//! One named tensor inside a model file.

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

    /// True of equal bytes of one type and shape.
    pub fn has_numbers_of(&self, other: &TensorView<'_>) -> bool {
        (self.dtype, &self.shape, self.bytes) == (other.dtype, &other.shape, other.bytes)
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
        self.dtype.first_non_finite(self.bytes)
    }
}
