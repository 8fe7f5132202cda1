//! Rotary position embedding: tables of cosines and sines, and the rotation of one head.
//!
//! Angles are computed in f64 from the inverse frequencies that the engine gives (scaling of the
//! context is already in them) and rounded once, so that far positions are as exact as near ones. A
//! rotated pair is two products and one sum each, never fused, the same on every instruction set.

use std::sync::Once;

use super::memory::{AllocError, HugeBuffer, Shared};

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
    /// Of each position `2 * pairs` floats: cosines, then sines. Takes memory where it was computed.
    _memory: HugeBuffer<f32>,
    start: Shared<f32>,
    /// Each `CHUNK` positions: whether they were computed.
    chunks: Vec<Once>,
}

impl RotaryTable {
    /// `inverse_frequencies`: radians a position for each pair; the first `2 * pairs` dimensions of a
    /// head are rotated. `scale`: what cosines and sines are multiplied with (1 but for YaRN).
    pub fn new(
        inverse_frequencies: &[f64],
        style: RotaryStyle,
        scale: f64,
        positions_max: usize,
    ) -> Result<Self, AllocError> {
        let mut memory = HugeBuffer::sparse(floats(2 * inverse_frequencies.len(), positions_max))?;
        Ok(Self {
            inverse_frequencies: inverse_frequencies.to_vec(),
            style,
            scale,
            start: Shared(memory.as_mut_ptr()),
            _memory: memory,
            chunks: (0..positions_max.div_ceil(CHUNK)).map(|_| Once::new()).collect(),
        })
    }

    /// What a table for so many rotated dimensions takes once all positions were needed.
    pub fn bytes(dims: usize, positions_max: usize) -> usize {
        floats(dims, positions_max) * size_of::<f32>()
    }

    /// Dimensions of a head that are rotated.
    pub fn dims(&self) -> usize {
        2 * self.inverse_frequencies.len()
    }

    pub fn style(&self) -> RotaryStyle {
        self.style
    }

    /// Cosines and sines of a position. Panics beyond the last chunk of positions.
    pub fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let dims = self.dims();
        let position = position as usize;
        let chunk = self.chunks.get(position / CHUNK);
        let chunk = chunk.unwrap_or_else(|| panic!("position {position} is beyond the rotary table"));
        // SAFETY: the table has the chunk, and nobody but this call refers to it before it is complete.
        chunk.call_once(|| unsafe { self.compute(position / CHUNK) });
        // SAFETY: the position's floats lie in the table, and nobody writes them any more.
        let angles = unsafe { std::slice::from_raw_parts(self.start.get().add(position * dims), dims) };
        angles.split_at(dims / 2)
    }

    /// # Safety
    /// The table has the chunk, and nobody refers to it meanwhile.
    unsafe fn compute(&self, chunk: usize) {
        let (dims, first) = (self.dims(), chunk * CHUNK);
        // SAFETY: see above.
        let table =
            unsafe { std::slice::from_raw_parts_mut(self.start.get().add(first * dims), CHUNK * dims) };
        for i in 0..CHUNK {
            let (cosines, sines) = table[i * dims..][..dims].split_at_mut(dims / 2);
            for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(&self.inverse_frequencies) {
                let angle = (first + i) as f64 * frequency;
                (*cosine, *sine) = ((angle.cos() * self.scale) as f32, (angle.sin() * self.scale) as f32);
            }
        }
    }
}

/// Of whole chunks.
fn floats(dims: usize, positions_max: usize) -> usize {
    positions_max.next_multiple_of(CHUNK).saturating_mul(dims)
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
            let table = RotaryTable::new(&frequencies(4), style, 1.0, 3000).unwrap();
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
        let table = RotaryTable::new(&frequencies(8), RotaryStyle::HalfSplit, 0.9, 100).unwrap();
        let mut split: [f32; 16] = std::array::from_fn(|i| i as f32 - 5.5);
        let mut interleaved: [f32; 16] = std::array::from_fn(|i| split[i % 2 * 8 + i / 2]);
        rotate(&mut split, table.at(77), RotaryStyle::HalfSplit);
        rotate(&mut interleaved, table.at(77), RotaryStyle::Interleaved);
        assert_eq!(interleaved, std::array::from_fn(|i| split[i % 2 * 8 + i / 2]));
    }

    #[test]
    fn threads_that_need_a_position_first_all_get_it() {
        for positions in [1, 1500] {
            let table = RotaryTable::new(&frequencies(4), RotaryStyle::HalfSplit, 1.0, positions).unwrap();
            assert_eq!(size_of_val(&*table._memory), RotaryTable::bytes(8, positions));
            let last = positions as u32 - 1;
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert_eq!(table.at(last).0[0], f64::from(last).cos() as f32));
                }
            });
        }
    }

    #[test]
    #[should_panic(expected = "beyond the rotary table")]
    fn a_position_beyond_the_table_panics() {
        RotaryTable::new(&frequencies(4), RotaryStyle::HalfSplit, 1.0, 1024).unwrap().at(1024);
    }
}
