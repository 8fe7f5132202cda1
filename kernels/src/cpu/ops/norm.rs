//! Normalisation of whole rows, and of the heads inside rows of queries and keys.

use super::Cpu;
use crate::cpu::attention::HeadShape;
use crate::cpu::norm::{rms_norm_row, rms_norm_row_in_place};
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
    /// RMSNorm of every row of `x` into `out`, which gets as many rows. Panics when widths differ.
    pub fn rms_norm(&mut self, x: &Rows, weight: &[f32], eps: f32, out: &mut Rows) {
        assert_eq!(x.width(), out.width(), "width of the normalised rows");
        assert_eq!(x.width(), weight.len(), "width of the norm's weight");
        out.set_rows(x.rows());
        let target = out.shared();
        let isa = self.isa;
        let rows = x.rows();
        let run = |range| isa.run(NormRows { x, weight, eps, target, range });
        if rows <= ROWS_ALONE {
            run(0..rows);
        } else {
            self.pool.run(&|team| run(team.share(rows)));
        }
    }

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

struct NormRows<'a> {
    x: &'a Rows,
    weight: &'a [f32],
    eps: f32,
    target: SharedRows,
    range: Range<usize>,
}

impl Kernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        for row in self.range {
            // SAFETY: the target has the rows and width of `x`; ranges of threads are disjoint.
            unsafe {
                let out = self.target.slice_mut(row);
                rms_norm_row::<S>(self.x.row(row), self.weight, self.eps, out);
            }
        }
    }
}

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
