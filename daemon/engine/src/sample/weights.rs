//! The weights of a whole vocabulary, e^((logit - largest) / temperature): cut, and drawn from in the order of tokens.

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::plain::PlainKernel;

use super::select::Candidate;
use super::softmax::{BLOCK, block_sum, exp};

#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Those of a block whose sum is 0 mean nothing.
    values: Vec<f32>,
    /// Of each block of values.
    sums: Vec<f64>,
}

impl Weights {
    pub(super) fn fill(&mut self, isa: Isa, logits: &[f32], largest: f32, scale: f32) {
        self.values.resize(logits.len(), 0.0);
        self.sums.resize(logits.len().div_ceil(BLOCK), 0.0);
        isa.run_plain(Fill { logits, largest, scale, weights: self });
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Blocks, and their places, but for those that are known to have no weight of at least `least`: rounding never makes
    /// a sum less than its largest part.
    #[inline(always)]
    pub(super) fn blocks_from(&self, least: f32) -> impl Iterator<Item = (usize, &[f32])> {
        let blocks = self.values.chunks(BLOCK).zip(&self.sums).enumerate();
        let blocks = blocks.filter(move |(_, (_, sum))| **sum >= f64::from(least));
        blocks.map(|(index, (values, _))| (index * BLOCK, values))
    }

    pub(super) fn total(&self) -> f64 {
        self.sums.iter().sum()
    }

    /// Makes weights below `least` 0.
    pub(super) fn keep_at_least(&mut self, isa: Isa, least: f32) {
        isa.run_plain(Keep { values: &mut self.values, sums: &mut self.sums, least });
    }

    /// Makes all weights 0 that come after `last` when sorted: smaller ones, and equal ones of higher tokens.
    pub(super) fn keep_up_to(&mut self, isa: Isa, last: Candidate) {
        let token = last.token as usize;
        let block = token / BLOCK;
        let split = ((block + 1) * BLOCK).min(self.values.len());
        for value in &mut self.values[token + 1..split] {
            *value = if *value == last.value { 0.0 } else { *value };
        }
        let (values, values_after) = self.values.split_at_mut(split);
        let (sums, sums_after) = self.sums.split_at_mut(block + 1);
        isa.run_plain(Keep { values, sums, least: last.value });
        isa.run_plain(Keep { values: values_after, sums: sums_after, least: last.value.next_up() });
    }

    /// The first index at which the running sum exceeds `mass`, else the last with a positive weight.
    pub(super) fn find(&self, mass: f64) -> usize {
        let (mut block, mut running, mut end) = (0, 0.0, 0.0);
        for (index, sum) in self.sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
            (block, running) = (index, end);
            end += sum;
            if end > mass {
                break;
            }
        }
        let values = self.values.chunks(BLOCK).nth(block).unwrap_or_default();
        let found = values.iter().position(|weight| {
            running += f64::from(*weight);
            running > mass
        });
        let positive = || values.iter().rposition(|weight| *weight > 0.0);
        block * BLOCK + found.or_else(positive).unwrap_or(0)
    }
}

struct Fill<'a> {
    logits: &'a [f32],
    largest: f32,
    scale: f32,
    weights: &'a mut Weights,
}

impl PlainKernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let blocks = self.weights.values.chunks_mut(BLOCK).zip(self.logits.chunks(BLOCK));
        for ((values, logits), sum) in blocks.zip(&mut self.weights.sums) {
            for (value, logit) in values.iter_mut().zip(logits) {
                *value = exp((logit - self.largest) * self.scale);
            }
            *sum = block_sum(values);
        }
    }
}

struct Keep<'a> {
    values: &'a mut [f32],
    sums: &'a mut [f64],
    least: f32,
}

impl PlainKernel for Keep<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (values, sum) in self.values.chunks_mut(BLOCK).zip(self.sums) {
            // None of its weights is large enough, as `blocks_from` says; or none is left.
            if *sum < f64::from(self.least) {
                *sum = 0.0;
                continue;
            }
            for value in values.iter_mut() {
                *value = if *value >= self.least { *value } else { 0.0 };
            }
            *sum = block_sum(values);
        }
    }
}

#[cfg(test)]
impl Weights {
    pub(super) fn of(values: Vec<f32>) -> Self {
        let sums = values.chunks(BLOCK).map(block_sum).collect();
        Weights { values, sums }
    }

    fn possible(&self) -> Vec<f32> {
        let blocks = self.values.chunks(BLOCK).zip(&self.sums);
        blocks
            .flat_map(|(values, sum)| values.iter().map(|value| if *sum > 0.0 { *value } else { 0.0 }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_is_the_inverse_of_the_running_sum() {
        let weights = Weights::of((0..700).map(|i| (i % 5) as f32 * 0.25).collect());
        let mut before = 0.0;
        for (index, weight) in weights.values().iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            assert_eq!(weights.find(before), index);
            assert_eq!(weights.find(before + 0.99 * f64::from(*weight)), index);
            before += f64::from(*weight);
        }
        assert_eq!(weights.total(), before);
        assert_eq!(weights.find(before), 699, "rounding never leads past the last possible token");
    }

    #[test]
    fn keeping_up_to_a_token_keeps_what_sorts_before_it() {
        for len in [1, 255, 256, 257, 600] {
            for token in (0..len).step_by(37).chain([len - 1]) {
                let values: Vec<f32> = (0..len).map(|i| (i * 7 % 4) as f32 * 0.25).collect();
                let value = values[token];
                let stays = |(index, other): (usize, &f32)| {
                    if *other > value || (*other == value && index <= token) { *other } else { 0.0 }
                };
                let expected: Vec<f32> = values.iter().enumerate().map(stays).collect();
                for isa in Isa::supported() {
                    let mut kept = Weights::of(values.clone());
                    kept.keep_up_to(isa, Candidate { value, token: token as u32 });
                    assert_eq!(kept.possible(), expected, "{isa}");
                    assert_eq!(kept.total(), expected.iter().map(|value| f64::from(*value)).sum::<f64>());
                }
            }
        }
    }

    /// A block without any, whose values stay in memory, does not come back.
    #[test]
    fn what_was_cut_stays_out() {
        let values: Vec<f32> = (0..1000).map(|i| if i % 600 == 300 { 1.0 } else { 0.001 }).collect();
        let mut weights = Weights::of(values);
        for (least, kept) in [(0.9, [300, 900]), (0.0001, [300, 900])] {
            weights.keep_at_least(Isa::PORTABLE, least);
            assert_eq!(weights.total(), 2.0);
            assert_eq!([0.5, 1.5].map(|mass| weights.find(mass)), kept);
        }
    }
}
