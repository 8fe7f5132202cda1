//! Rows of the embedding table.

use super::Cpu;
use crate::cpu::pack::PackedMatrix;
use crate::cpu::rows::Rows;

/// Tokens that one thread does alone: waking others would take longer.
const TOKENS_ALONE: usize = 4;

impl Cpu {
    /// The table's rows of `tokens`, exactly dequantised; a tied output head is the same matrix.
    ///
    /// # Panics
    /// If a token is not in the table, or the widths differ.
    pub fn embed(&mut self, table: &PackedMatrix, tokens: &[u32], out: &mut Rows) {
        assert_eq!(out.width(), table.columns(), "width of the embeddings");
        let known = |token: &u32| (*token as usize) < table.rows();
        assert!(tokens.iter().all(known), "a token is not in the embedding table");
        out.set_rows(tokens.len());
        let out = out.shared();
        let embed = |rows: std::ops::Range<usize>| {
            for i in rows {
                // SAFETY: each row is written by the one thread that has it in its range.
                let row = unsafe { out.slice_mut(i) };
                table.dequantise_row(tokens[i] as usize, row);
            }
        };
        if tokens.len() <= TOKENS_ALONE {
            embed(0..tokens.len());
        } else {
            self.pool.run(&|team| embed(team.share(tokens.len())));
        }
    }
}
