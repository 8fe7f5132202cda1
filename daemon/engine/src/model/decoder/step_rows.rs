//! A step plan as the backend wants it, in vectors that are kept from step to step.

use crate::backend::{Batch, RowPlace};
use crate::request::TokenId;
use crate::schedule::{Row, StepPlan, TokenSource};

#[derive(Debug, Default)]
pub(super) struct StepRows {
    all: Lists,
    sampled: Lists,
    /// Empty between steps; only its memory is kept.
    block_tables: Vec<&'static [u32]>,
}

/// Some rows of a step.
#[derive(Debug, Default)]
struct Lists {
    tokens: Vec<TokenId>,
    places: Vec<RowPlace>,
    sampled: Vec<u32>,
    prompt: Vec<u32>,
    generated: Vec<u32>,
}

/// The rows of a step, and the sampled ones among them as a batch of their own: all that the last layer's output is
/// wanted for.
pub(super) struct StepBatch<'a> {
    pub(super) all: Batch<'a>,
    /// A batch, since a sequence samples its last rows.
    pub(super) sampled: Batch<'a>,
}

impl StepRows {
    /// With memory for steps of up to so many rows.
    pub(super) fn for_rows(rows: usize) -> Self {
        StepRows {
            all: Lists::for_rows(rows),
            sampled: Lists::for_rows(rows),
            block_tables: Vec::with_capacity(rows),
        }
    }

    pub(super) fn with_batch<R>(&mut self, plan: &StepPlan, run: impl FnOnce(&StepBatch<'_>) -> R) -> R {
        let samples = || plan.samples().iter().map(|sample| sample.row);
        self.all.fill(plan.rows().iter(), samples());
        let sampled_rows = samples().map(|row| &plan.rows()[row as usize]);
        self.sampled.fill(sampled_rows, 0..plan.samples().len() as u32);
        let mut block_tables = emptied(std::mem::take(&mut self.block_tables));
        block_tables.extend((0..plan.sequences().len()).map(|sequence| plan.block_table(sequence)));
        let best_only = plan.is_best_only();
        let all = Batch { best_only, ..self.all.batch(&block_tables) };
        let sampled = Batch { best_only, ..self.sampled.batch(&block_tables) };
        let result = run(&StepBatch { all, sampled });
        self.block_tables = emptied(block_tables);
        result
    }
}

impl Lists {
    fn for_rows(rows: usize) -> Self {
        Lists {
            tokens: Vec::with_capacity(rows),
            places: Vec::with_capacity(rows),
            sampled: Vec::with_capacity(rows),
            prompt: Vec::with_capacity(rows),
            generated: Vec::with_capacity(rows),
        }
    }

    fn fill<'a>(&mut self, rows: impl Iterator<Item = &'a Row>, sampled_rows: impl Iterator<Item = u32>) {
        let Lists { tokens, places, sampled, prompt, generated } = self;
        tokens.clear();
        places.clear();
        sampled.clear();
        prompt.clear();
        generated.clear();
        for (index, row) in (0..).zip(rows) {
            let Row { sequence, position, source, token } = *row;
            let is_prompt = source == TokenSource::Prompt;
            tokens.push(token);
            places.push(RowPlace { sequence, position, is_prompt });
            if is_prompt { prompt.push(index) } else { generated.push(index) }
        }
        sampled.extend(sampled_rows);
    }

    fn batch<'a>(&'a self, block_tables: &'a [&'a [u32]]) -> Batch<'a> {
        let Lists { tokens, places, sampled, prompt, generated } = self;
        Batch { tokens, places, block_tables, sampled, best_only: false, prompt, generated }
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

    #[test]
    fn sampled_rows_are_a_batch_of_their_own() {
        let row = |sequence, position, source| Row { token: 10 + position, sequence, position, source };
        let (prompt, generated) = (TokenSource::Prompt, TokenSource::Generated);
        // The middle of a prompt, the end of another, a generated token.
        let rows = [
            row(0, 5, prompt),
            row(0, 6, prompt),
            row(1, 2, prompt),
            row(1, 3, prompt),
            row(2, 9, generated),
        ];
        let (mut all, mut sampled) = (Lists::default(), Lists::default());
        all.fill(rows.iter(), [3, 4].into_iter());
        sampled.fill([&rows[3], &rows[4]].into_iter(), 0..2);
        let (all, sampled) = (all.batch(&[]), sampled.batch(&[]));
        assert_eq!((all.prompt, all.generated, all.sampled), (&[0, 1, 2, 3][..], &[4][..], &[3, 4][..]));
        assert_eq!((sampled.prompt, sampled.generated, sampled.sampled), (&[0][..], &[1][..], &[0, 1][..]));
        assert_eq!((sampled.tokens, sampled.places[0]), (&[13, 19][..], all.places[3]));
    }
}
