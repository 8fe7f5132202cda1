//! What a product does to its input first: norm, and activations to digits, with the region that it is a part of. There is
//! no call that does only this, so it is what is left of products whose outputs shrink to none: twice the time of one less
//! that of one with twice the outputs. Floats between norm and digits are not counted as bytes.

use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::ops::linear::{LinearInput, LinearWeights, Norm, Split, Store};
use ostro_kernels::cpu::pack::PackedMatrix;
use ostro_kernels::cpu::rows::Rows;

use crate::matrices::{activations, matrix};
use crate::roof::Roof;
use crate::turns::in_turn;
use crate::{Call, GATED, HIDDEN, LAYERS, TIMES, repetitions};

/// Outputs that a thread computes at once.
const PANEL: usize = 32;
/// Two digits, a scale and sums for 32 columns. Where prompts are taken whole, on a matrix unit, two bytes a column and
/// little more.
const BLOCK_COLUMNS: usize = 32;
const BLOCK_BYTES: usize = 96;
const PROMPT: usize = 512;

/// Of all products of a step but the head's; seconds.
pub(crate) fn products(cpu: &mut Cpu, rows: usize) -> f64 {
    let q4 = WeightType::Q4_1;
    let normed = Input { name: "norm and digits of 576", columns: HIDDEN, is_normed: true, weight_type: q4 };
    let of_attention = Input { name: "digits of 576", is_normed: false, ..normed };
    let of_gated = Input { name: "digits of 1536", columns: GATED, ..of_attention };
    let large = Input { name: "norm and digits of 576 for Q8_0", weight_type: WeightType::Q8_0, ..normed };
    let in_step = [(normed, 2 * LAYERS), (of_attention, LAYERS), (of_gated, LAYERS), (large, 0)];
    in_step.map(|(input, in_step)| input.rate(cpu, rows, in_step)).iter().sum()
}

#[derive(Clone, Copy)]
struct Input {
    name: &'static str,
    columns: usize,
    is_normed: bool,
    weight_type: WeightType,
}

impl Input {
    fn rate(self, cpu: &mut Cpu, rows: usize, in_step: usize) -> f64 {
        let Self { name, columns, is_normed, weight_type } = self;
        let x = activations(rows, columns);
        let weight = vec![1.0; columns];
        let norm = is_normed.then_some(Norm { weight: &weight, eps: 1e-5 });
        let listed: Vec<u32> = (0..rows as u32).collect();
        let split = (rows >= PROMPT).then_some(Split { generated: &[], prompt: &listed });
        let input = LinearInput { x: &x, norm, split };
        let outputs = PANEL * cpu.threads();
        let [mut one, mut two] = [1, 2].map(|times| Product::new(cpu, weight_type, times * outputs, &input));

        let read = 4 * columns * (rows + usize::from(is_normed));
        let call = Call { name, rows, read, written: rows * columns / BLOCK_COLUMNS * BLOCK_BYTES, in_step };
        let times = repetitions(cpu, &mut |cpu| one.run(cpu));
        let mut state = (cpu, Roof::cached(call.read, call.written));
        let seconds = in_turn(
            TIMES,
            &mut state,
            [
                &mut |(cpu, _)| (0..times).for_each(|_| one.run(cpu)),
                &mut |(cpu, _)| (0..times).for_each(|_| two.run(cpu)),
                &mut |(cpu, roof)| (0..times).for_each(|_| roof.copy_shared(cpu)),
                &mut |(cpu, roof)| (0..times).for_each(|_| roof.copy_alone(cpu)),
            ],
        );
        let [one, two, shared, alone] = seconds.map(|seconds| seconds[0] / times as f64);
        call.print(2.0 * one - two, Some(shared.min(alone)))
    }
}

struct Product<'a> {
    input: LinearInput<'a>,
    matrix: PackedMatrix,
    out: Rows,
}

impl<'a> Product<'a> {
    fn new(cpu: &mut Cpu, weight_type: WeightType, outputs: usize, input: &LinearInput<'a>) -> Self {
        let matrix = matrix(cpu, weight_type, outputs, input.x.width());
        Self { input: *input, matrix, out: Rows::new(input.x.rows(), outputs) }
    }

    fn run(&mut self, cpu: &mut Cpu) {
        let weights = LinearWeights { parts: &[&self.matrix], bias: None };
        cpu.linear(self.input, weights, &mut self.out, Store::Replace);
    }
}
