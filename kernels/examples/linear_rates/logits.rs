//! The head of SmolLM2-135M, with random weights: all logits of some rows, beside finding the largest only.

use super::matrices::{activations, head};
use super::{HIDDEN, VOCAB, best_in_turn};

use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::ops::linear::{LinearInput, LinearWeights};
use ostro_kernels::cpu::rows::Rows;

pub(crate) fn rates(cpu: &mut Cpu) {
    let head = head(cpu, WeightType::Q8_0, VOCAB, HIDDEN);
    if !head.is_estimated() {
        return;
    }
    for rows in [1, 2, 4, 6, 8, 12, 16, 32] {
        let (x, list) = (activations(rows, HIDDEN), Vec::from_iter(0..rows as u32));
        let input = LinearInput { x: &x, norm: None, split: None };
        let (mut logits, mut room) = (Rows::new(rows, VOCAB), Rows::new(rows, VOCAB));
        let [all, largest] = best_in_turn(
            41,
            cpu,
            [
                &mut |cpu| {
                    let weights = LinearWeights { parts: &[head.matrix()], bias: None };
                    cpu.linear_rows(input, &list, weights, &mut logits);
                },
                &mut |cpu| {
                    assert!(cpu.largest_outputs(input, &list, &head, &mut room).all(|row| row.is_some()))
                },
            ],
        );
        println!(
            "  SmolLM2-135M head, {rows:>3} rows: all logits {:>6.3} ms, the largest {:>6.3} ms, {:.2} times",
            all * 1e3,
            largest * 1e3,
            all / largest
        );
    }
}
