//! Of rows of logits each one's largest: prepared rows, then a pass that bounds all panels, and one that settles the rest.

use super::{Call, LinearInput, LinearWeights, Memory, Needs, Store};
use crate::cpu::digits::sizes::{ActivationSizes, PreparedRows};
use crate::cpu::digits::{BLOCK, DigitBlock, Form};
use crate::cpu::head::Head;
use crate::cpu::linear::estimate::{EstimateBlock, lengths};
use crate::cpu::linear::largest::{Bound, Found, Largest, Settle};
use crate::cpu::memory::{AllocError, Scratch, Shared};
use crate::cpu::ops::Cpu;
use crate::cpu::rows::Rows;

/// What threads tell each other.
#[derive(Debug, Default)]
pub(in crate::cpu::ops) struct LargestScratch {
    estimates: Scratch<EstimateBlock>,
    row_lengths: Scratch<f32>,
    at_least: Scratch<f32>,
    found: Scratch<Found>,
}

impl LargestScratch {
    /// For rows of so many columns, 0 where no head is estimated.
    pub(in crate::cpu::ops) fn reserve(
        &mut self,
        (rows, columns): (usize, usize),
        threads: usize,
    ) -> Result<(), AllocError> {
        let Sizes { estimates, row_lengths, found } = Sizes::of((rows, columns), threads);
        self.estimates.reserve(estimates)?;
        self.row_lengths.reserve(row_lengths)?;
        self.at_least.reserve(found)?;
        self.found.reserve(found)
    }

    /// What threads do with the head, and as many rows as `room` has.
    fn all<'a>(&mut self, head: &'a Head, digits: Shared<DigitBlock>, room: &mut Rows) -> Largest<'a> {
        Largest {
            matrix: head.matrix(),
            lengths: head.lengths(),
            rows: room.rows(),
            digits,
            estimates: Shared(self.estimates.as_mut_ptr()),
            row_lengths: Shared(self.row_lengths.as_mut_ptr()),
            at_most: room.shared(),
            at_least: Shared(self.at_least.as_mut_ptr()),
            found: Shared(self.found.as_mut_ptr()),
        }
    }

    pub(in crate::cpu::ops) fn bytes(&self) -> usize {
        self.estimates.bytes() + self.row_lengths.bytes() + self.at_least.bytes() + self.found.bytes()
    }

    /// What `reserve` takes.
    pub(in crate::cpu::ops) fn bytes_max((rows, columns): (usize, usize), threads: usize) -> usize {
        let Sizes { estimates, row_lengths, found } = Sizes::of((rows, columns), threads);
        estimates * size_of::<EstimateBlock>()
            + (row_lengths + found) * size_of::<f32>()
            + found * size_of::<Found>()
    }
}

/// Numbers of each kind.
struct Sizes {
    estimates: usize,
    row_lengths: usize,
    /// And of what each row's largest product is at least.
    found: usize,
}

impl Sizes {
    fn of((rows, columns): (usize, usize), threads: usize) -> Self {
        let rows = if columns == 0 { 0 } else { rows };
        Self {
            estimates: rows * (columns / BLOCK),
            row_lengths: rows * lengths(columns),
            found: rows * threads,
        }
    }
}

impl Cpu {
    /// Of each listed row of `x` the first of the largest outputs that `linear_rows` would give; `None` of a row with an
    /// output that is not finite. `room` may be overwritten: it is as wide as the head has outputs.
    ///
    /// # Panics
    /// When shapes differ, and for a head that is not estimated.
    pub fn largest_outputs(
        &mut self,
        input: LinearInput<'_>,
        rows: &[u32],
        head: &Head,
        room: &mut Rows,
    ) -> impl Iterator<Item = Option<u32>> {
        assert!(head.is_estimated(), "a head that is not estimated");
        assert!(rows.iter().all(|row| (*row as usize) < input.x.rows()), "a listed row is not in the input");
        let (matrix, width, threads) = (head.matrix(), input.x.width(), self.pool.threads());
        let parts = [matrix];
        let weights = LinearWeights { parts: &parts, bias: None }.checked(room, Store::Replace);
        let needs = Needs::of(weights, input, width);
        let prepared = PreparedRows { blocks: rows.len(), wide: 0, floats: threads };
        let sizes = ActivationSizes::of(prepared, needs.columns(width));
        self.activations.provide(sizes).expect("memory for a step's activations");
        self.largest.reserve((rows.len(), width), threads).expect("memory for a step's largest logits");
        self.check_reserved();
        room.set_rows(rows.len());
        let call =
            Call { input, needs, form: Form::Digits, memory: Memory::of(&mut self.activations, width) };
        let (isa, all) = (self.isa, self.largest.all(head, call.memory.digits, room));
        self.pool.run(&|team| {
            for row in team.share(rows.len()) {
                // SAFETY: there is room for all rows, each of which is one thread's.
                unsafe {
                    isa.run(call.prepare_row(rows[row] as usize, row, team.id));
                    isa.run(all.estimate_row(row));
                }
            }
            team.barrier();
            let (panels, thread) = (team.share(matrix.panels()), team.id);
            isa.run(Bound { all, panels: panels.clone(), thread });
            team.barrier();
            isa.run(Settle { all, panels, thread, threads: team.threads });
        });
        let (rows, found) = (rows.len(), self.largest.found.first(rows.len() * threads));
        (0..rows).map(move |row| first_largest(found.chunks_exact(rows).map(|found| &found[row])))
    }
}

/// Of what threads found, each of outputs behind those of the one before.
fn first_largest<'a>(found: impl Iterator<Item = &'a Found> + Clone) -> Option<u32> {
    if found.clone().any(|found| found.not_finite != 0) {
        return None;
    }
    let best = found.reduce(|best, next| if next.largest > best.largest { next } else { best });
    best.map(|best| best.output)
}
