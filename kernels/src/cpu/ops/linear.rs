//! Linear layers: fused RMSNorm of the input, matrices that share it, bias, residual, gated pairs, and
//! products for chosen rows only.

use super::Cpu;
use crate::cpu::digits::sizes::{ActivationSizes, PreparedRows};
use crate::cpu::digits::wide::WideRow;
use crate::cpu::digits::{Activations, BLOCK, DigitBlock, DigitRow, Form, PrepareRow};
use crate::cpu::linear::matrix_unit::MatrixCode;
use crate::cpu::linear::multiply::{Multiply, Prepared, ROW_BLOCK, Weights};
use crate::cpu::linear::shares::Panels;
use crate::cpu::linear::taken::Taken;
use crate::cpu::linear::tile::Strided;
use crate::cpu::memory::Shared;
use crate::cpu::pack::PackedMatrix;
use crate::cpu::rows::Rows;
use crate::cpu::simd::LANES;
use cut::{Cut, Part};
use needs::Needs;

pub use crate::cpu::activation::Activation;
pub use crate::cpu::digits::Norm;
pub use crate::cpu::linear::finish::Store;
pub use needs::InputColumns;

mod cut;
pub(super) mod largest;
mod needs;
#[cfg(test)]
mod tests;

/// From this many rows on, instruction sets without dot products of bytes take activations whole where some quants have
/// more than 4 bits or two planes. With 4, digits are as fast for prompts, and faster for 16 sequences.
const WORD_ROWS: usize = 8;

/// The input of a linear layer.
#[derive(Clone, Copy)]
pub struct LinearInput<'a> {
    pub x: &'a Rows,
    /// Applied to each row first.
    pub norm: Option<Norm<'a>>,
    /// None: all rows keep the contract of blocks.
    pub split: Option<Split<'a>>,
}

/// The rows of an input by what their tokens are. Where there is a matrix unit, products of block-wise weights with
/// prompt rows keep a contract of their own, on which a row's result depends, but on no other row.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    pub generated: &'a [u32],
    /// All other rows.
    pub prompt: &'a [u32],
}

/// The weights of a linear layer.
#[derive(Clone, Copy)]
pub struct LinearWeights<'a> {
    /// Matrices whose outputs stand side by side in the output, such as q, k and v.
    pub parts: &'a [&'a PackedMatrix],
    /// One number an output.
    pub bias: Option<&'a [f32]>,
}

/// The first half of a gated feed-forward layer: activation(gate x) * (up x).
#[derive(Clone, Copy)]
pub struct GatedWeights<'a> {
    pub gate: &'a PackedMatrix,
    /// Of the shape of `gate`.
    pub up: &'a PackedMatrix,
    pub activation: Activation,
}

impl Cpu {
    /// out = W norm(x) + bias, or added to `out`. Panics when shapes differ; replacing sets `out`'s rows.
    pub fn linear(
        &mut self,
        input: LinearInput<'_>,
        weights: LinearWeights<'_>,
        out: &mut Rows,
        mode: Store,
    ) {
        if mode == Store::Accumulate {
            assert_eq!(out.rows(), input.x.rows(), "rows of the residual");
        }
        self.multiply(input, None, weights.checked(out, mode), out);
    }

    /// `linear` of the listed rows of `x` only, by the contract of blocks, in the order of the list; replaces `out`.
    pub fn linear_rows(
        &mut self,
        input: LinearInput<'_>,
        rows: &[u32],
        weights: LinearWeights<'_>,
        out: &mut Rows,
    ) {
        assert!(rows.iter().all(|row| (*row as usize) < input.x.rows()), "a listed row is not in the input");
        self.multiply(input, Some(rows), weights.checked(out, Store::Replace), out);
    }

    /// out = activation(gate norm(x)) * (up norm(x)). Panics when shapes differ.
    pub fn gated_linear(&mut self, input: LinearInput<'_>, weights: GatedWeights<'_>, out: &mut Rows) {
        let GatedWeights { gate, up, activation } = weights;
        assert_eq!((gate.rows(), gate.columns()), (up.rows(), up.columns()), "shapes of gate and up");
        assert_eq!(out.width(), gate.rows(), "width of the gated output");
        self.multiply(input, None, Weights::Gated { gate, up, activation }, out);
        // What comes until the next attention is half as much.
        self.ahead.near();
    }

    /// The rows that keep the contract of blocks, and the wide ones.
    fn split<'a>(&self, input: LinearInput<'a>, needs: Needs) -> (Taken<'a>, Taken<'a>) {
        match input.split {
            Some(split) if !needs.dense && self.isa.matrix_unit().is_some() => {
                assert_eq!(split.generated.len() + split.prompt.len(), input.x.rows(), "rows of the split");
                (Taken::in_place(split.generated), Taken::in_place(split.prompt))
            }
            _ => (Taken::all(input.x.rows()), Taken::all(0)),
        }
    }

    /// Of all rows, or of those listed.
    fn multiply(
        &mut self,
        input: LinearInput<'_>,
        listed: Option<&[u32]>,
        weights: Weights<'_>,
        out: &mut Rows,
    ) {
        let width = input.x.width();
        let needs = Needs::of(weights, input, width);
        let (rows, wide) = match listed {
            Some(rows) => (Taken::gathered(rows), Taken::all(0)),
            None => self.split(input, needs),
        };
        let threads = self.pool.threads();
        let cut = Cut::of(rows.count, wide.count, threads);
        let copies = cut.prepared(rows.count, threads);
        let floats = if needs.dense { copies } else { threads };
        let prepared = PreparedRows { blocks: copies, wide: wide.count, floats };
        let sizes = ActivationSizes::of(prepared, needs.columns(width));
        self.activations.provide(sizes).expect("memory for a step's activations");
        self.check_reserved();
        out.set_rows(rows.count + wide.count);
        let takes_words = needs.large_quants && rows.count >= WORD_ROWS && !self.isa.has_dots();
        let form = if takes_words { Form::Words } else { Form::Digits };
        let call = Call { input, needs, form, memory: Memory::of(&mut self.activations, width) };
        let (isa, ahead) = (self.isa, &self.ahead);
        let (unit, out) = (isa.matrix_unit(), out.shared());
        // Fewer rows wait for memory, which is faster for those who still read; of more, each block passes all panels.
        let is_dealt = cut == Cut::Shared && rows.count <= ROW_BLOCK && wide.count == 0;
        if is_dealt {
            self.shares.deal(|id| weights.share((id, threads)));
        }
        let shares = Some(&self.shares).filter(|_| is_dealt);
        self.pool.run(&|team| {
            let Part { prepares, first, multiplies, share } = cut.part(team, rows.count);
            let panels = match shares {
                Some(shares) => shares.panels(team.id),
                None => Panels::fixed(weights.share(share)),
            };
            for i in prepares {
                // SAFETY: `provide` has made room for all copies; each is written by one thread, and read by others
                // after the barrier only. No two threads have one id.
                isa.run(unsafe { call.prepare_row(rows.input(i), first + i, team.id) });
            }
            for i in team.share(wide.count) {
                // SAFETY: as above.
                isa.run(unsafe { call.prepare_wide(wide.input(i), i, team.id) });
            }
            if cut == Cut::Shared {
                team.barrier();
            }
            if rows.count > 0 {
                let ahead = ahead.left(rows.count, (team.id, team.threads));
                let prepared = call.prepared(first);
                let panels = panels.clone();
                isa.run(Multiply { weights, rows, range: multiplies, prepared, out, panels, ahead });
            }
            if let Some(code) = unit.filter(|_| wide.count > 0) {
                let (range, prepared) = (0..wide.count, call.prepared_wide(code));
                isa.run(Multiply { weights, rows: wide, range, prepared, out, panels, ahead: None });
            }
        });
    }
}

/// A product as its threads share it.
struct Call<'a> {
    input: LinearInput<'a>,
    needs: Needs,
    form: Form,
    memory: Memory,
}

/// Where prepared rows lie.
struct Memory {
    digits: Shared<DigitBlock>,
    wide_digits: Shared<i8>,
    wide_scales: Shared<f32>,
    floats: Shared<f32>,
    /// Between rows of digits and of floats.
    blocks: usize,
    stride: usize,
}

impl Memory {
    fn of(activations: &mut Activations, width: usize) -> Self {
        let (wide_digits, wide_scales) = activations.wide_mut();
        Self {
            digits: Shared(activations.digits_mut()),
            wide_digits: Shared(wide_digits),
            wide_scales: Shared(wide_scales),
            floats: Shared(activations.floats_mut()),
            blocks: width / BLOCK,
            stride: width.next_multiple_of(LANES),
        }
    }
}

impl<'a> Call<'a> {
    /// # Safety
    /// There is room for `copy`, which nobody else touches while the result is used, and no other thread is `thread`.
    unsafe fn prepare_row(&self, row: usize, copy: usize, thread: usize) -> PrepareRow<'_> {
        let blocks = if self.needs.digits { self.memory.blocks } else { 0 };
        // SAFETY: the caller's promise.
        unsafe {
            let digits = self.memory.digits.get().add(copy * blocks);
            let digits = DigitRow::Blocks(std::slice::from_raw_parts_mut(digits, blocks), self.form);
            let floats = self.floats(if self.needs.dense { copy } else { thread });
            PrepareRow { x: self.input.x.row(row), norm: self.input.norm, floats, digits }
        }
    }

    /// # Safety
    /// As `prepare_row`, with `copy` one of the wide rows.
    unsafe fn prepare_wide(&self, row: usize, copy: usize, thread: usize) -> PrepareRow<'_> {
        let (digits, scales) = (self.memory.wide_digits.get(), self.memory.wide_scales.get());
        // SAFETY: the caller's promise.
        unsafe {
            let digits = DigitRow::Wide(WideRow::new(digits, scales, self.input.x.width(), copy));
            // Dense weights have no wide rows.
            let floats = self.floats(thread);
            PrepareRow { x: self.input.x.row(row), norm: self.input.norm, floats, digits }
        }
    }

    #[allow(clippy::mut_from_ref)] // `prepare_row` and `prepare_wide` pass the promise on
    unsafe fn floats(&self, row: usize) -> Option<&mut [f32]> {
        // SAFETY: the callers' promise.
        self.needs.floats.then(|| unsafe {
            let start = self.memory.floats.get().add(row * self.memory.stride);
            std::slice::from_raw_parts_mut(start, self.input.x.width())
        })
    }

    /// Rows in blocks from the copy `first` on.
    fn prepared(&self, first: usize) -> Prepared {
        let Memory { digits, floats, stride, .. } = &self.memory;
        let blocks = if self.needs.digits { self.memory.blocks } else { 0 };
        let stride = if self.needs.dense { *stride } else { 0 };
        Prepared::Rows {
            digits: Strided { start: digits.get().wrapping_add(first * blocks), stride: blocks },
            form: self.form,
            floats: Strided { start: floats.get().wrapping_add(first * stride), stride },
        }
    }

    fn prepared_wide(&self, code: MatrixCode) -> Prepared {
        Prepared::Wide { code, digits: self.memory.wide_digits.get(), scales: self.memory.wide_scales.get() }
    }
}

impl<'a> LinearWeights<'a> {
    fn checked(self, out: &Rows, mode: Store) -> Weights<'a> {
        let Self { parts, bias } = self;
        assert!(!parts.is_empty(), "a linear layer has a matrix");
        let outputs: usize = parts.iter().map(|part| part.rows()).sum();
        assert_eq!(out.width(), outputs, "width of the output");
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "the bias has one number an output");
        Weights::Stack { parts, bias, mode }
    }
}
