//! Rows of the embedding table.

use super::Cpu;
use crate::cpu::embedding::Embeddings;
use crate::cpu::rows::Rows;

/// Tokens that one thread does alone: waking others would take longer.
const TOKENS_ALONE: usize = 4;

impl Cpu {
    /// The rows of `tokens`, exactly dequantised.
    ///
    /// # Panics
    /// If a token is not in the table, or the widths differ.
    pub fn embed(&mut self, table: Embeddings<'_>, tokens: &[u32], out: &mut Rows) {
        let (rows, columns) = table.shape();
        assert_eq!(out.width(), columns, "width of the embeddings");
        let known = |token: &u32| (*token as usize) < rows;
        assert!(tokens.iter().all(known), "a token is not in the embedding table");
        out.set_rows(tokens.len());
        let (isa, out) = (self.isa, out.shared());
        let embed = |rows: std::ops::Range<usize>| {
            for i in rows {
                // SAFETY: each row is written by the one thread that has it in its range.
                let row = unsafe { out.slice_mut(i) };
                table.read_row(tokens[i] as usize, isa, row);
            }
        };
        if tokens.len() <= TOKENS_ALONE {
            embed(0..tokens.len());
        } else {
            self.pool.run(&|team| embed(team.share(tokens.len())));
        }
    }
}
