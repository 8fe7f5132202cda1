//! A tile of dense weights.
#![allow(clippy::needless_range_loop)] // the loops run over several arrays, and must unroll

use super::tile::{AHEAD, LINES_APART, Results, TileCall};
use crate::cpu::block::WeightType;
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// `M` rows times a panel of dense weights, whose ggml id is `TYPE`.
pub(super) struct DenseTile<'a, const TYPE: u32, const M: usize>(pub(super) &'a TileCall);

// Whoever makes the tile keeps the promises of `TileFunction`.
impl<const TYPE: u32, const M: usize> Kernel for DenseTile<'_, TYPE, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let call = self.0;
            debug_assert!(!call.resumes, "dense weights are not cut");
            let mut y: Results<S, M> = [[S::zero(); 2]; M];
            let size = if TYPE == WeightType::F32.ggml_id() { 4 } else { 2 };
            for k in 0..call.columns {
                let at = call.panel.add(k * PANEL_ROWS * size);
                if M > 1 || k.is_multiple_of(LINES_APART) {
                    for line in 0..PANEL_ROWS * size / 64 {
                        S::prefetch(at.wrapping_add(AHEAD + line * 64));
                    }
                }
                let w = [dense::<S, TYPE>(at), dense::<S, TYPE>(at.add(LANES * size))];
                for m in 0..M {
                    let x = S::splat(*call.floats.row(m).add(k));
                    y[m][0] = S::fma(w[0], x, y[m][0]);
                    y[m][1] = S::fma(w[1], x, y[m][1]);
                }
            }
            for m in 0..M {
                for half in 0..2 {
                    S::store(call.out.add(m * PANEL_ROWS + half * LANES), y[m][half]);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn dense<S: Simd16, const TYPE: u32>(at: *const u8) -> S::F {
    // SAFETY: 16 weights lie there, says `DenseTile::run`.
    unsafe {
        if TYPE == WeightType::F32.ggml_id() {
            S::load(at.cast())
        } else if TYPE == WeightType::F16.ggml_id() {
            S::load_f16(at.cast())
        } else {
            S::load_bf16(at.cast())
        }
    }
}
