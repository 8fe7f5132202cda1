//! How a step's token budget is divided.
//!
//! Every sequence that needs one token gets it: decodes never wait for prompts. What is left goes to prompts, half in
//! order of arrival, half to the shortest remaining. So the oldest prompt always moves at half speed or better, however
//! many short ones arrive; a short prompt does not queue behind a long one; equal prompts are served one after another.

use super::sequence::Sequence;

#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// At least the number of sequences that run together.
    pub(super) tokens_per_step: usize,
    pub(super) prompt_tokens_beside_decode: usize,
}

impl Budget {
    /// Prompt tokens of a step with this many decodes.
    pub(super) fn prompt_tokens(&self, decodes: usize) -> usize {
        let left = self.tokens_per_step - decodes;
        match decodes {
            0 => left,
            _ => left.min(self.prompt_tokens_beside_decode),
        }
    }

    /// Sets the chunk of every sequence (oldest first).
    pub(super) fn divide(&self, sequences: &mut [Sequence]) {
        let mut decodes = 0;
        for sequence in sequences.iter_mut() {
            sequence.chunk = usize::from(sequence.remaining() == 1);
            decodes += sequence.chunk;
        }
        let budget = self.prompt_tokens(decodes);
        let by_arrival = budget.div_ceil(2);
        let mut left = by_arrival;
        for sequence in sequences.iter_mut() {
            left -= give(sequence, left);
        }
        left += budget - by_arrival;
        while left > 0 {
            let short = sequences.iter_mut().filter(|sequence| wants(sequence) > 0).min_by_key(|s| wants(s));
            let Some(sequence) = short else {
                return;
            };
            left -= give(sequence, left);
        }
    }
}

fn wants(sequence: &Sequence) -> usize {
    sequence.remaining() - sequence.chunk
}

fn give(sequence: &mut Sequence, tokens: usize) -> usize {
    let given = wants(sequence).min(tokens);
    sequence.chunk += given;
    given
}
