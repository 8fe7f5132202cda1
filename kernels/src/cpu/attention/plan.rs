//! Cuts a batch into units of work. Pure: knows positions and shapes, touches no numbers.
//!
//! A sequence with many rows (a prompt) becomes tiles of rows that each run over all their keys; one
//! with few rows (decode) becomes parts of its keys, so that a lone request keeps all threads busy,
//! and its rows are merged afterwards. Nothing of this shows in the result.

use super::{BatchView, HeadShape, PART, RowPlace};
use crate::cpu::memory::AllocError;
use sizes::PlanSizes;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) mod sizes;

/// Query rows (tokens x heads that share a key head) of a unit, unless one token alone has more.
const UNIT_ROWS: usize = 192;
/// Sequences with at most this many rows are cut by parts, as long as there is memory for their results.
pub(crate) const FEW_TOKENS: usize = 8;

/// The fewest rows that a part is cut into: fewer cost almost as much, since reading and converting the
/// keys and values is most of their work (measured: three rows in two pieces were slower on two threads).
const PIECE_ROWS: usize = 4;

/// Query rows of one sequence and key head. Row `r` of a unit is token `(row + r) / group` of the
/// sequence's rows in this batch, query head `(row + r) % group` of the key head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) run: Run,
    pub(crate) kv_head: usize,
    pub(crate) row: usize,
    pub(crate) rows: usize,
    pub(crate) keys: Keys,
}

impl Unit {
    /// The first key that its rows are taken over, always the first of a step.
    pub(crate) fn first_key(&self) -> usize {
        match self.keys {
            Keys::All => 0,
            Keys::Part { part, .. } => part * PART,
        }
    }
}

/// The keys of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All that the rows see; the unit writes the output.
    All,
    /// One part of several of a cut sequence; the unit leaves partial results.
    Part { part: usize, cut: usize },
}

/// The rows of one sequence and kind in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) sequence: usize,
    /// Its first row in the batch, and that row's position.
    pub(crate) batch_row: usize,
    pub(crate) position: usize,
    pub(crate) tokens: usize,
    pub(crate) is_prompt: bool,
}

impl Run {
    /// Keys that its last row sees.
    pub(crate) fn keys(&self) -> usize {
        self.position + self.tokens
    }
}

/// A sequence that was cut by parts. Its partial results lie in the order `[token][query head][part]`
/// from `slot` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) run: Run,
    pub(crate) parts: usize,
    pub(crate) slot: usize,
}

impl Cut {
    /// Where the partial results of a row start.
    pub(crate) fn row_slot(&self, token: usize, query_head: usize, shape: &HeadShape) -> usize {
        self.slot + (token * shape.query_heads + query_head) * self.parts
    }
}

/// The work of one attention call. Kept between calls for its memory.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) units: Vec<Unit>,
    pub(crate) cuts: Vec<Cut>,
    /// Partial results of all cuts.
    pub(crate) slots: usize,
    /// The first units, which are to be taken one at a time; the others are short.
    pub(crate) tiles: usize,
    /// `None`: as many as are wanted.
    pub(super) slots_max: Option<usize>,
}

impl Plan {
    pub(crate) fn build(&mut self, batch: &BatchView<'_>, shape: &HeadShape, threads: usize) {
        self.clear();
        for run in runs(batch) {
            let parts = run.keys().div_ceil(PART);
            // A single part needs no merging.
            let slots = if parts > 1 { run.tokens * shape.query_heads * parts } else { 0 };
            if run.tokens > FEW_TOKENS || self.slots_max.is_some_and(|most| self.slots + slots > most) {
                self.push_tiles(run, shape, threads);
            } else {
                self.cuts.push(Cut { run, parts, slot: self.slots });
                self.slots += slots;
            }
        }
        // The longest first: what is left at the end is short.
        self.units
            .sort_unstable_by_key(|unit| Reverse((unit.run.position + unit.row / shape.group()) * unit.rows));
        self.tiles = self.units.len();
        self.push_cuts(shape, threads);
    }

    /// Has memory for all plans of the sizes, which keep to their slots from now on.
    pub(crate) fn reserve(&mut self, sizes: PlanSizes) -> Result<(), AllocError> {
        let failed = |_| AllocError { bytes: sizes.bytes() };
        self.clear();
        self.units.try_reserve_exact(sizes.units).map_err(failed)?;
        self.cuts.try_reserve_exact(sizes.cuts).map_err(failed)?;
        self.slots_max = Some(sizes.slots);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.units.capacity() * size_of::<Unit>() + self.cuts.capacity() * size_of::<Cut>()
    }

    fn clear(&mut self) {
        self.units.clear();
        self.cuts.clear();
        self.slots = 0;
    }

    /// The units that thread `id` does before it takes others from a counter, which starts where those of the last thread
    /// end: where all are short, always the same, so that they may wait in its cache.
    pub(crate) fn first(&self, id: usize, threads: usize) -> Range<usize> {
        let share = if self.tiles == 0 { share_at_once(self.units.len(), threads) } else { 0 };
        id * share..(id + 1) * share
    }

    /// The units that a thread does next, empty when all are taken: a tile, or as many neighbouring parts
    /// as leave every thread enough to end together; neighbours prefetch for each other.
    pub(crate) fn take(&self, next: &AtomicUsize, threads: usize) -> Range<usize> {
        let mut first = next.load(Ordering::Relaxed);
        while first < self.units.len() {
            let rest = self.units.len() - first;
            let end = first + if first < self.tiles { 1 } else { share_at_once(rest, threads).max(1) };
            match next.compare_exchange_weak(first, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return first..end,
                Err(now) => first = now,
            }
        }
        0..0
    }

    fn push_tiles(&mut self, run: Run, shape: &HeadShape, threads: usize) {
        let group = shape.group();
        let fair = run.tokens * shape.kv_heads / (4 * threads);
        let tokens_max = fair.max(FEW_TOKENS).min(rows_max(group) / group);
        for first in (0..run.tokens).step_by(tokens_max) {
            let rows = tokens_max.min(run.tokens - first) * group;
            for kv_head in 0..shape.kv_heads {
                self.units.push(Unit { run, kv_head, row: first * group, rows, keys: Keys::All });
            }
        }
    }

    fn push_cuts(&mut self, shape: &HeadShape, threads: usize) {
        let parts: usize = self.cuts.iter().map(|cut| cut.parts).sum();
        let units = self.units.len() + parts * shape.kv_heads;
        // Too few parts for the threads: the heads that share a key head are separated too.
        let pieces = (2 * threads).div_ceil(units.max(1));
        for (index, cut) in self.cuts.iter().enumerate() {
            let rows = cut.run.tokens * shape.group();
            let piece = rows.div_ceil(pieces).max(PIECE_ROWS).min(rows_max(shape.group()));
            for kv_head in 0..shape.kv_heads {
                for part in 0..cut.parts {
                    for row in (0..rows).step_by(piece) {
                        let keys = if cut.parts > 1 { Keys::Part { part, cut: index } } else { Keys::All };
                        let rows = piece.min(rows - row);
                        self.units.push(Unit { run: cut.run, kv_head, row, rows, keys });
                    }
                }
            }
        }
    }
}

/// What a thread takes at once of so much short work, so that all end together.
pub(crate) fn share_at_once(rest: usize, threads: usize) -> usize {
    rest / (2 * threads)
}

/// The most rows a unit has.
pub(crate) fn rows_max(group: usize) -> usize {
    UNIT_ROWS.max(group)
}

/// The sequences of a batch, in order, cut where prompts end. Panics when a sequence's rows are not consecutive
/// positions.
pub(crate) fn runs<'a>(batch: &'a BatchView<'_>) -> impl Iterator<Item = Run> + 'a {
    let mut next = 0;
    std::iter::from_fn(move || {
        let first = batch.rows.get(next)?;
        let (batch_row, position) = (next, first.position as usize);
        let kind = |row: &RowPlace| (row.sequence, row.is_prompt);
        while batch.rows.get(next).is_some_and(|row| kind(row) == kind(first)) {
            let expected = position + next - batch_row;
            assert_eq!(
                batch.rows[next].position as usize, expected,
                "rows of a sequence must be consecutive"
            );
            next += 1;
        }
        let (sequence, tokens) = (first.sequence as usize, next - batch_row);
        Some(Run { sequence, batch_row, position, tokens, is_prompt: first.is_prompt })
    })
}

#[cfg(test)]
mod tests;
