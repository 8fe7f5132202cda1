//! Rotary position embedding: tables of cosines and sines, and the rotation of one head.
//!
//! Angles are computed in f64 from the inverse frequencies that the engine gives (scaling of the
//! context is already in them) and rounded once, so that far positions are as exact as near ones. A
//! rotated pair is two products and one sum each, never fused, the same on every instruction set.

use std::sync::OnceLock;

/// Positions of a chunk of the table; chunks are computed when first needed.
const CHUNK: usize = 1024;

/// Which dimensions form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryStyle {
    /// `i` and `i + half` (GPT-NeoX, Hugging Face).
    HalfSplit,
    /// `2i` and `2i + 1` (GPT-J, llama weights in GGUF).
    Interleaved,
}

/// Cosines and sines of every position and pair.
pub struct RotaryTable {
    inverse_frequencies: Vec<f64>,
    style: RotaryStyle,
    scale: f64,
    /// Each `CHUNK` positions of `2 * pairs` floats: cosines, then sines.
    chunks: Vec<OnceLock<Box<[f32]>>>,
}

impl RotaryTable {
    /// `inverse_frequencies`: radians a position for each pair; the first `2 * pairs` dimensions of a
    /// head are rotated. `scale`: what cosines and sines are multiplied with (1 but for YaRN).
    pub fn new(inverse_frequencies: &[f64], style: RotaryStyle, scale: f64, positions_max: usize) -> Self {
        let chunks = (0..positions_max.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Self { inverse_frequencies: inverse_frequencies.to_vec(), style, scale, chunks }
    }

    /// Dimensions of a head that are rotated.
    pub fn dims(&self) -> usize {
        2 * self.inverse_frequencies.len()
    }

    pub fn style(&self) -> RotaryStyle {
        self.style
    }

    /// Cosines and sines of a position. Panics beyond `positions_max`.
    pub fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let pairs = self.inverse_frequencies.len();
        let position = position as usize;
        let chunk = self.chunks.get(position / CHUNK);
        let chunk = chunk.unwrap_or_else(|| panic!("position {position} is beyond the rotary table"));
        let chunk = chunk.get_or_init(|| self.compute(position / CHUNK * CHUNK));
        chunk[position % CHUNK * 2 * pairs..][..2 * pairs].split_at(pairs)
    }

    fn compute(&self, first: usize) -> Box<[f32]> {
        let mut table = Vec::with_capacity(CHUNK * 2 * self.inverse_frequencies.len());
        for position in first..first + CHUNK {
            let angle = |frequency: &f64| position as f64 * frequency;
            table.extend(self.inverse_frequencies.iter().map(|f| (angle(f).cos() * self.scale) as f32));
            table.extend(self.inverse_frequencies.iter().map(|f| (angle(f).sin() * self.scale) as f32));
        }
        table.into()
    }
}

/// Rotates the first dimensions of a head in place. Plain code: inlined into a function with vector
/// instructions it becomes them, and without fused operations the bits stay the same.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], (cosines, sines): (&[f32], &[f32]), style: RotaryStyle) {
    let pairs = cosines.len();
    match style {
        RotaryStyle::HalfSplit => {
            let (low, rest) = head.split_at_mut(pairs);
            for (((a, b), c), s) in low.iter_mut().zip(&mut rest[..pairs]).zip(cosines).zip(sines) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
        RotaryStyle::Interleaved => {
            let (both, _) = head[..2 * pairs].as_chunks_mut::<2>();
            for ((pair, c), s) in both.iter_mut().zip(cosines).zip(sines) {
                let [a, b] = *pair;
                *pair = [a * c - b * s, b * c + a * s];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(pairs: usize) -> Vec<f64> {
        (0..pairs).map(|i| 10_000f64.powf(-(i as f64) / pairs as f64)).collect()
    }

    #[test]
    fn a_pair_turns_by_its_angle() {
        for (style, other) in [(RotaryStyle::HalfSplit, 4), (RotaryStyle::Interleaved, 1)] {
            let table = RotaryTable::new(&frequencies(4), style, 1.0, 3000);
            for position in [0u32, 1, 1023, 1024, 2999] {
                let mut head = [0.0; 10];
                head[0] = 3.0;
                head[9] = 7.0;
                rotate(&mut head, table.at(position), style);
                let angle = f64::from(position);
                assert!((f64::from(head[0]) - 3.0 * angle.cos()).abs() < 1e-6);
                assert!((f64::from(head[other]) - 3.0 * angle.sin()).abs() < 1e-6);
                assert_eq!(head[9], 7.0, "dimensions beyond the rotated ones stay");
            }
        }
    }

    #[test]
    fn both_styles_agree_after_permuting_the_dimensions() {
        let table = RotaryTable::new(&frequencies(8), RotaryStyle::HalfSplit, 0.9, 100);
        let mut split: [f32; 16] = std::array::from_fn(|i| i as f32 - 5.5);
        let mut interleaved: [f32; 16] = std::array::from_fn(|i| split[i % 2 * 8 + i / 2]);
        rotate(&mut split, table.at(77), RotaryStyle::HalfSplit);
        rotate(&mut interleaved, table.at(77), RotaryStyle::Interleaved);
        assert_eq!(interleaved, std::array::from_fn(|i| split[i % 2 * 8 + i / 2]));
    }

    #[test]
    #[should_panic(expected = "beyond the rotary table")]
    fn a_position_beyond_the_table_panics() {
        RotaryTable::new(&frequencies(4), RotaryStyle::HalfSplit, 1.0, 1024).at(1024);
    }
}
