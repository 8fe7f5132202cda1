//! Normalisation of the heads inside rows of queries and keys. That of whole rows is a part of the product after it.

use super::Cpu;
use crate::cpu::attention::HeadShape;
use crate::cpu::norm::rms_norm_row_in_place;
use crate::cpu::rows::{Rows, SharedRows};
use crate::cpu::simd::{Kernel, Simd16};
use std::ops::Range;

/// RMSNorm of every query and key head (Qwen 3).
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm<'a> {
    /// `head_dim` floats each.
    pub query_weight: &'a [f32],
    pub key_weight: &'a [f32],
    pub eps: f32,
}

impl Cpu {
    /// RMSNorm of each query and key head of every row, in place. Panics when widths differ.
    pub fn head_norm(&mut self, qkv: &mut Rows, shape: &HeadShape, norm: &HeadNorm<'_>) {
        shape.check();
        assert_eq!(qkv.width(), shape.qkv_width(), "width of queries, keys and values");
        assert_eq!(norm.query_weight.len(), shape.head_dim, "width of the query norm's weight");
        assert_eq!(norm.key_weight.len(), shape.head_dim, "width of the key norm's weight");
        let target = qkv.shared();
        let isa = self.isa;
        let rows = qkv.rows();
        let run = |range| isa.run(NormHeads { shape, norm, target, range });
        if rows <= ROWS_ALONE {
            run(0..rows);
        } else {
            self.pool.run(&|team| run(team.share(rows)));
        }
    }
}

/// Rows that one thread does alone: waking others would take longer.
const ROWS_ALONE: usize = 2;

struct NormHeads<'a> {
    shape: &'a HeadShape,
    norm: &'a HeadNorm<'a>,
    target: SharedRows,
    range: Range<usize>,
}

impl Kernel for NormHeads<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let HeadShape { query_heads, kv_heads, head_dim, .. } = *self.shape;
        for row in self.range {
            // SAFETY: `head_norm` checked the widths; ranges of threads are disjoint.
            unsafe {
                let heads = &mut self.target.slice_mut(row)[..(query_heads + kv_heads) * head_dim];
                for (index, head) in heads.chunks_exact_mut(head_dim).enumerate() {
                    let is_query = index < query_heads;
                    let weight = if is_query { self.norm.query_weight } else { self.norm.key_weight };
                    rms_norm_row_in_place::<S>(head, weight, self.norm.eps);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;

    fn rows(rows: usize, width: usize) -> Rows {
        let mut x = Rows::new(rows, width);
        for row in 0..rows {
            for (i, x) in x.row_mut(row).iter_mut().enumerate() {
                *x = ((row * 31 + i * 17) % 29) as f32 - 13.0;
            }
        }
        x
    }

    /// The norm of each stretch of `weight.len()` floats, in f64.
    fn check(x: &[f32], weight: &[f32], got: &[f32]) {
        for (x, got) in x.chunks(weight.len()).zip(got.chunks(weight.len())) {
            let squares = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let scale = 1.0 / (squares / x.len() as f64 + 1e-6).sqrt();
            for ((x, w), got) in x.iter().zip(weight).zip(got) {
                assert!((f64::from(x * w) * scale - f64::from(*got)).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn heads_are_normalised_one_by_one_and_values_stay() {
        let shape = HeadShape { query_heads: 4, kv_heads: 2, head_dim: 24, scale: 1.0 };
        let query_weight: Vec<f32> = (0..24).map(|i| 1.0 + i as f32).collect();
        let key_weight: Vec<f32> = (0..24).map(|i| 0.1 * i as f32).collect();
        let norm = HeadNorm { query_weight: &query_weight, key_weight: &key_weight, eps: 1e-6 };
        for count in [1, 5] {
            let before = rows(count, shape.qkv_width());
            let mut qkv = rows(count, shape.qkv_width());
            Cpu::new(Isa::detect(), 2).head_norm(&mut qkv, &shape, &norm);
            for row in 0..count {
                let (before, after) = (before.row(row), qkv.row(row));
                check(&before[..96], &query_weight, &after[..96]);
                check(&before[96..144], &key_weight, &after[96..144]);
                assert_eq!(before[144..], after[144..]);
            }
        }
    }
}
