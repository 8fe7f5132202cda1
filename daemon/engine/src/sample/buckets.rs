//! Where the sorted weights of a vocabulary reach a mass, without sorting them: they are summed up by their leading bits,
//! and only the bucket in which the mass is reached is looked at more closely.

use super::select::{Candidate, by_value, count_to_mass};
use crate::request::TokenId;

/// Keeps the exponent and five bits of a weight: buckets of three percent.
const SHIFT: u32 = 18;
const BUCKETS: usize = bucket(1.0) + 1;
const CHUNK: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Buckets {
    masses: Vec<f64>,
}

impl Buckets {
    /// The last of the largest weights (0 to 1) that together have at least `mass`; the smallest if all have less.
    pub(super) fn last_in_mass(
        &mut self,
        weights: &[f32],
        mass: f64,
        candidates: &mut Vec<Candidate>,
    ) -> Candidate {
        self.masses.clear();
        self.masses.resize(BUCKETS, 0.0);
        for weight in weights {
            self.masses[bucket(*weight)] += f64::from(*weight);
        }
        let mut above = 0.0;
        let mut reached = 0;
        for (index, bucket_mass) in self.masses.iter().enumerate().rev().filter(|(_, mass)| **mass > 0.0) {
            reached = index;
            if above + bucket_mass >= mass {
                break;
            }
            above += bucket_mass;
        }
        collect(weights, reached, candidates);
        let count = count_to_mass(candidates, mass - above, by_value);
        candidates[count - 1]
    }
}

/// The weights of one bucket. Most chunks have none, which takes a few vector instructions to see.
fn collect(weights: &[f32], index: usize, candidates: &mut Vec<Candidate>) {
    let bound = |index: usize| f32::from_bits((index as u32) << SHIFT);
    let (least, end) = (bound(index), bound(index + 1));
    let is_in = |weight: f32| (weight >= least) & (weight < end);
    candidates.clear();
    for (chunk, values) in weights.chunks(CHUNK).enumerate() {
        if values.iter().fold(false, |any, weight| any | is_in(*weight)) {
            let entries = values.iter().zip((chunk * CHUNK) as TokenId..);
            let entries = entries.map(|(&value, token)| Candidate { value, token });
            candidates.extend(entries.filter(|entry| is_in(entry.value)));
        }
    }
}

const fn bucket(weight: f32) -> usize {
    (weight.to_bits() >> SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn the_last_in_mass_is_the_one_that_sorting_finds() {
        let mut random = ChaCha12Rng::seed_from_u64(3);
        for round in 0..200 {
            let len = 1 + random.next_u64() % 300;
            let distinct = 1 + random.next_u64() % 400;
            let weights: Vec<f32> = (0..len)
                .map(|_| (random.next_u64() % distinct) as f32 / distinct as f32)
                .map(|weight| weight.powi(1 + round % 9))
                .chain([1.0])
                .collect();
            let mut sorted: Vec<_> =
                weights.iter().zip(0..).map(|(&value, token)| Candidate { value, token }).collect();
            sorted.sort_by(by_value);
            sorted.retain(|candidate| candidate.value > 0.0);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for part in [0.01, 0.4, 0.7, 0.95, 0.999] {
                let mut sum = 0.0;
                let expected = sorted.iter().find(|candidate| {
                    sum += f64::from(candidate.value);
                    sum >= part * total
                });
                let last = Buckets::default().last_in_mass(&weights, part * total, &mut Vec::new());
                assert_eq!(Some(&last), expected);
            }
        }
    }
}
