//! Linear layers: fused RMSNorm of the input, matrices that share it, bias, residual, gated pairs, and
//! products for chosen rows only.

use super::Cpu;
use crate::cpu::block::BlockFormat;
use crate::cpu::digits::group::GroupRow;
use crate::cpu::digits::{BLOCK, DigitForm, DigitRow, PrepareRow};
use crate::cpu::linear::multiply::{Groups, Multiply, Weights};
use crate::cpu::linear::tile::Strided;
use crate::cpu::memory::Shared;
use crate::cpu::pack::PackedMatrix;
use crate::cpu::rows::Rows;
use crate::cpu::simd::LANES;

pub use crate::cpu::activation::Activation;
pub use crate::cpu::digits::Norm;
pub use crate::cpu::linear::finish::Store;

#[cfg(test)]
mod tests;

/// From this many rows on, threads share the rows' preparation and meet at a barrier; fewer are prepared
/// by every thread for itself.
const SHARED_ROWS: usize = 4;

/// From this many rows on, a matrix unit is faster than vectors, if there is one. With 16 rows whose weights come
/// from memory, as in batched decoding, a step took 1.3 times as long on it.
const GROUPED_ROWS: usize = 32;

/// The input of a linear layer.
#[derive(Clone, Copy)]
pub struct LinearInput<'a> {
    pub x: &'a Rows,
    /// Applied to each row first.
    pub norm: Option<Norm<'a>>,
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

/// Rows of the input that take part.
#[derive(Clone, Copy)]
enum Taken<'a> {
    All,
    Listed(&'a [u32]),
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
        self.multiply(input, Taken::All, weights.checked(out, mode), out);
    }

    /// `linear` of the listed rows of `x` only, in the order of the list; replaces `out`.
    pub fn linear_rows(
        &mut self,
        input: LinearInput<'_>,
        rows: &[u32],
        weights: LinearWeights<'_>,
        out: &mut Rows,
    ) {
        assert!(rows.iter().all(|row| (*row as usize) < input.x.rows()), "a listed row is not in the input");
        self.multiply(input, Taken::Listed(rows), weights.checked(out, Store::Replace), out);
    }

    /// out = activation(gate norm(x)) * (up norm(x)). Panics when shapes differ.
    pub fn gated_linear(&mut self, input: LinearInput<'_>, weights: GatedWeights<'_>, out: &mut Rows) {
        let GatedWeights { gate, up, activation } = weights;
        assert_eq!((gate.rows(), gate.columns()), (up.rows(), up.columns()), "shapes of gate and up");
        assert_eq!(out.width(), gate.rows(), "width of the gated output");
        self.multiply(input, Taken::All, Weights::Gated { gate, up, activation }, out);
    }

    fn multiply(&mut self, input: LinearInput<'_>, taken: Taken<'_>, weights: Weights<'_>, out: &mut Rows) {
        let width = input.x.width();
        let rows = match taken {
            Taken::All => input.x.rows(),
            Taken::Listed(list) => list.len(),
        };
        let needs = Needs::of(weights, input, width);
        let shared = rows >= SHARED_ROWS;
        let copies = if shared { rows } else { rows * self.pool.threads() };
        let unit = if rows >= GROUPED_ROWS && !needs.dense { self.isa.matrix_unit() } else { None };
        let form = if unit.is_some() { DigitForm::Groups } else { DigitForm::Rows };
        self.activations.reserve(form, copies, width).expect("memory for a step's activations");
        out.set_rows(rows);
        let blocks = if needs.digits { width / BLOCK } else { 0 };
        let stride = width.next_multiple_of(LANES);
        let digits = Shared(self.activations.digits_mut());
        let groups = Shared(self.activations.groups_mut());
        let floats = Shared(self.activations.floats_mut());
        let out = out.shared();
        let isa = self.isa;
        self.pool.run(&|team| {
            let first = if shared { 0 } else { team.id * rows };
            for i in if shared { team.share(rows) } else { 0..rows } {
                let x = match taken {
                    Taken::All => input.x.row(i),
                    Taken::Listed(list) => input.x.row(list[i] as usize),
                };
                // SAFETY: `reserve` has made room for all copies; each is written by one thread, and read
                // by others after the barrier only.
                let (digits, floats) = unsafe {
                    let floats = floats.get().add((first + i) * stride);
                    let digits = match form {
                        DigitForm::Rows => {
                            let row = digits.get().add((first + i) * blocks);
                            DigitRow::Blocks(std::slice::from_raw_parts_mut(row, blocks))
                        }
                        DigitForm::Groups => DigitRow::Group(GroupRow::new(groups.get(), blocks, first + i)),
                    };
                    (digits, needs.floats.then(|| std::slice::from_raw_parts_mut(floats, width)))
                };
                isa.run(PrepareRow { x, norm: input.norm, floats, digits });
            }
            if shared {
                team.barrier();
            }
            isa.run(Multiply {
                weights,
                rows,
                digits: Strided { start: digits.get().wrapping_add(first * blocks), stride: blocks },
                floats: Strided { start: floats.get().wrapping_add(first * stride), stride },
                groups: unit.map(|code| Groups { code, digits: groups.get() }),
                out,
                thread: (team.id, team.threads),
            });
        });
    }
}

impl<'a> LinearWeights<'a> {
    fn checked(self, out: &Rows, mode: Store) -> Weights<'a> {
        let Self { parts, bias } = self;
        let outputs: usize = parts.iter().map(|part| part.rows()).sum();
        assert_eq!(out.width(), outputs, "width of the output");
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "the bias has one number an output");
        Weights::Stack { parts, bias, mode }
    }
}

/// The forms of the input that the weights read.
#[derive(Clone, Copy)]
struct Needs {
    digits: bool,
    floats: bool,
    /// Some weights are dense.
    dense: bool,
}

impl Needs {
    /// Panics when the input does not fit the weights or the norm.
    fn of(weights: Weights<'_>, input: LinearInput<'_>, width: usize) -> Self {
        if let Some(norm) = input.norm {
            assert_eq!(norm.weight.len(), width, "width of the norm's weight");
        }
        let mut needs = Self { digits: false, floats: input.norm.is_some(), dense: false };
        let mut add = |matrix: &PackedMatrix| {
            assert_eq!(matrix.columns(), width, "columns of the weights");
            if BlockFormat::of(matrix.weight_type()).is_some() {
                needs.digits = true;
            } else {
                needs.floats = true;
                needs.dense = true;
            }
        };
        match weights {
            Weights::Stack { parts, .. } => parts.iter().for_each(|part| add(part)),
            Weights::Gated { gate, up, .. } => [gate, up].into_iter().for_each(add),
        }
        needs
    }
}
