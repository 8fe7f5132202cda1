//! A step plan as the backend wants it, in vectors that are kept from step to step.

use crate::backend::{Batch, RowPlace};
use crate::request::TokenId;
use crate::schedule::{Row, StepPlan, TokenSource};

#[derive(Debug, Default)]
pub(super) struct StepRows {
    tokens: Vec<TokenId>,
    places: Vec<RowPlace>,
    sampled: Vec<u32>,
    prompt: Vec<u32>,
    generated: Vec<u32>,
    /// Empty between steps; only its memory is kept.
    block_tables: Vec<&'static [u32]>,
}

impl StepRows {
    pub(super) fn with_batch<R>(&mut self, plan: &StepPlan, run: impl FnOnce(&Batch<'_>) -> R) -> R {
        self.tokens.clear();
        self.tokens.extend(plan.rows().iter().map(|row| row.token));
        self.places.clear();
        let place = |row: &Row| {
            let Row { sequence, position, source, token: _ } = *row;
            RowPlace { sequence, position, is_prompt: source == TokenSource::Prompt }
        };
        self.places.extend(plan.rows().iter().map(place));
        self.sampled.clear();
        self.sampled.extend(plan.samples().iter().map(|sample| sample.row));
        for (rows, source) in
            [(&mut self.prompt, TokenSource::Prompt), (&mut self.generated, TokenSource::Generated)]
        {
            rows.clear();
            rows.extend((0..).zip(plan.rows()).filter(|(_, row)| row.source == source).map(|(i, _)| i));
        }
        let mut block_tables = emptied(std::mem::take(&mut self.block_tables));
        block_tables.extend((0..plan.sequences().len()).map(|sequence| plan.block_table(sequence)));
        let result = run(&Batch {
            tokens: &self.tokens,
            places: &self.places,
            block_tables: &block_tables,
            sampled: &self.sampled,
            prompt: &self.prompt,
            generated: &self.generated,
        });
        self.block_tables = emptied(block_tables);
        result
    }
}

/// The vector's memory for slices of another lifetime: collecting in place reuses it.
fn emptied<'to>(mut slices: Vec<&[u32]>) -> Vec<&'to [u32]> {
    slices.clear();
    slices.into_iter().map(|_| -> &[u32] { &[] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptied_vector_keeps_its_memory() {
        let slices: Vec<&[u32]> = vec![&[1], &[2], &[3]];
        let (place, capacity) = (slices.as_ptr() as usize, slices.capacity());
        let empty: Vec<&'static [u32]> = emptied(slices);
        assert_eq!((empty.len(), empty.as_ptr() as usize, empty.capacity()), (0, place, capacity));
    }
}
