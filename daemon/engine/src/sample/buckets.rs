//! Where the sorted weights of a vocabulary reach a mass, without sorting them: they are summed up by their leading bits,
//! the largest first, and only the bucket in which the mass is reached is looked at more closely.

use std::ops::Range;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::plain::PlainKernel;

use super::select::{Candidate, by_value, count_to_mass};
use super::weights::Weights;
use crate::request::TokenId;

/// Keeps the exponent and five bits of a weight: buckets of three percent.
const SHIFT: u32 = 18;
const BUCKETS: usize = bucket(1.0) + 1;
const CHUNK: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Buckets {
    masses: Vec<f64>,
}

/// Where a mass is reached.
struct Reached {
    bucket: usize,
    /// The mass of all larger buckets.
    above: f64,
}

impl Buckets {
    /// The last of the largest weights (0 to 1) that together have at least `mass`; the smallest if all have less.
    pub(super) fn last_in_mass(
        &mut self,
        isa: Isa,
        weights: &Weights,
        mass: f64,
        candidates: &mut Vec<Candidate>,
    ) -> Candidate {
        let Reached { bucket, above } = self.reach(isa, weights, mass);
        candidates.clear();
        isa.run_plain(Collect { weights, range: bound(bucket)..bound(bucket + 1), candidates });
        let count = count_to_mass(candidates, mass - above, by_value);
        candidates[count - 1]
    }

    /// Looks at buckets from the largest down, at each when all of its weights are in it: floors change how many weights
    /// are summed up, and nothing else. In which order they are does not matter either: the weights of a bucket have one
    /// exponent, so f64 has room for their exact sum.
    fn reach(&mut self, isa: Isa, weights: &Weights, mass: f64) -> Reached {
        self.masses.clear();
        self.masses.resize(BUCKETS, 0.0);
        let mut reached = Reached { bucket: 0, above: 0.0 };
        let mut above = 0.0;
        let mut end = BUCKETS;
        for floor in floors(weights, mass) {
            if floor == end {
                continue;
            }
            isa.run_plain(Sum { weights, range: bound(floor)..bound(end), masses: &mut self.masses });
            for (bucket, bucket_mass) in (floor..end).zip(&self.masses[floor..end]).rev() {
                if *bucket_mass > 0.0 {
                    reached = Reached { bucket, above };
                    above += bucket_mass;
                    if above >= mass {
                        return reached;
                    }
                }
            }
            end = floor;
        }
        reached
    }
}

/// Buckets down to which weights are summed up, one after the other. Few weights are above a multiple of their mean, and
/// where the next token is clear they have the mass. Weights below the second floor have together no more than what
/// `mass` leaves of the total, so those above have `mass`, but for the total's rounding.
fn floors(weights: &Weights, mass: f64) -> [usize; 3] {
    let (total, len) = (weights.total(), weights.values().len() as f64);
    let floor = |weight: f64| bucket(weight.clamp(0.0, 2.0) as f32).min(BUCKETS);
    let first = floor(64.0 * total / len);
    [first, floor((total - mass) / len).min(first), 0]
}

/// Adds the weights of a range to their buckets, and whatever lies in one chunk with them: telling them apart takes
/// longer. Chunks with larger weights have been added before.
struct Sum<'a> {
    weights: &'a Weights,
    range: Range<f32>,
    masses: &'a mut [f64],
}

impl PlainKernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Sum { weights, range, masses } = self;
        let is_due = |chunk: &[f32]| any(chunk, |weight| weight >= range.start);
        let is_new = |chunk: &[f32]| !any(chunk, |weight| weight >= range.end);
        for_each_chunk(weights, range.start, |_, chunk| {
            if is_due(chunk) && is_new(chunk) {
                chunk.iter().for_each(|weight| masses[bucket(*weight)] += f64::from(*weight));
            }
        });
    }
}

struct Collect<'a> {
    weights: &'a Weights,
    range: Range<f32>,
    candidates: &'a mut Vec<Candidate>,
}

impl PlainKernel for Collect<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Collect { weights, range, candidates } = self;
        let is_in = |weight: f32| (weight >= range.start) & (weight < range.end);
        for_each_chunk(weights, range.start, |start, chunk| {
            if any(chunk, is_in) {
                let entries = chunk.iter().zip(start as TokenId..);
                let entries = entries.map(|(&value, token)| Candidate { value, token });
                candidates.extend(entries.filter(|entry| is_in(entry.value)));
            }
        });
    }
}

/// Calls `f` with the place and the weights of all chunks of blocks that may have a weight of at least `least`.
#[inline(always)]
fn for_each_chunk(weights: &Weights, least: f32, mut f: impl FnMut(usize, &[f32])) {
    for (start, block) in weights.blocks_from(least) {
        let (chunks, rest) = block.as_chunks::<CHUNK>();
        for (index, chunk) in chunks.iter().enumerate() {
            f(start + index * CHUNK, chunk);
        }
        f(start + block.len() - rest.len(), rest);
    }
}

/// Takes a few vector instructions a chunk.
#[inline(always)]
fn any(chunk: &[f32], is_wanted: impl Fn(f32) -> bool) -> bool {
    chunk.iter().fold(false, |any, weight| any | is_wanted(*weight))
}

const fn bucket(weight: f32) -> usize {
    (weight.to_bits() >> SHIFT) as usize
}

/// The least weight of a bucket.
fn bound(bucket: usize) -> f32 {
    f32::from_bits((bucket as u32) << SHIFT)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    fn sorted(weights: &[f32]) -> Vec<Candidate> {
        let mut sorted: Vec<_> =
            weights.iter().zip(0..).map(|(&value, token)| Candidate { value, token }).collect();
        sorted.sort_by(by_value);
        sorted.retain(|candidate| candidate.value > 0.0);
        sorted
    }

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
            let sorted = sorted(&weights);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let weights = Weights::of(weights);
            for part in [0.01, 0.4, 0.7, 0.95, 0.999] {
                let mut sum = 0.0;
                let expected = sorted.iter().find(|candidate| {
                    sum += f64::from(candidate.value);
                    sum >= part * total
                });
                for isa in Isa::supported() {
                    let mut candidates = Vec::new();
                    let last = Buckets::default().last_in_mass(isa, &weights, part * total, &mut candidates);
                    assert_eq!(Some(&last), expected, "{isa}");
                }
            }
        }
    }

    /// All weights in their order, then all buckets: as if there were no floors.
    fn last_of_all(weights: &[f32], mass: f64) -> Candidate {
        let mut masses = vec![0.0; BUCKETS];
        for weight in weights {
            masses[bucket(*weight)] += f64::from(*weight);
        }
        let (mut above, mut with) = (0.0, 0.0);
        let mut reached = 0;
        for (index, bucket_mass) in masses.iter().enumerate().rev().filter(|(_, mass)| **mass > 0.0) {
            (reached, above) = (index, with);
            with += bucket_mass;
            if with >= mass {
                break;
            }
        }
        let mut candidates = sorted(weights);
        candidates.retain(|candidate| bucket(candidate.value) == reached);
        let count = count_to_mass(&mut candidates, mass - above, by_value);
        candidates[count - 1]
    }

    /// Weights of a vocabulary whose logits are spread so much, in a part of it.
    fn spread(seed: u64, spread: f32, part: f32) -> Vec<f32> {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let mut uniform = || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
        let logit = |_| (uniform() < part).then(|| (uniform() + uniform() + uniform() - 3.0) * spread);
        let logits = (0..9_001).map(logit).map(|logit| logit.unwrap_or(f32::NEG_INFINITY));
        logits.map(f32::exp).chain([1.0]).collect()
    }

    #[test]
    fn floors_change_nothing() {
        let mut buckets = Buckets::default();
        for (seed, (logits_spread, part)) in
            (0..).zip([(0.0, 1.0), (0.0, 0.01), (0.1, 1.0), (2.0, 1.0), (8.0, 0.5), (8.0, 1.0), (90.0, 1.0)])
        {
            let weights = Weights::of(spread(seed, logits_spread, part));
            for top_p in [1e-6, 0.1, 0.5, 0.9, 0.95, 0.999, 0.999_999, 1.0f32.next_down()] {
                let mass = f64::from(top_p) * weights.total();
                let expected = last_of_all(weights.values(), mass);
                for isa in Isa::supported() {
                    let last = buckets.last_in_mass(isa, &weights, mass, &mut Vec::new());
                    assert_eq!(last, expected, "{isa}: {top_p} of {part} spread by {logits_spread}");
                }
            }
        }
    }

    /// As rounding can make it of a `top_p` just below 1.
    #[test]
    fn a_mass_that_all_lack_ends_with_the_smallest() {
        let weights = Weights::of(vec![0.25, 1.0, 0.25]);
        for isa in Isa::supported() {
            let last = Buckets::default().last_in_mass(isa, &weights, 1.500_000_1, &mut Vec::new());
            assert_eq!(last, Candidate { value: 0.25, token: 2 }, "{isa}");
        }
    }

    /// What is far below the floors is summed up all the same once it is needed.
    #[test]
    fn weights_below_the_floors_are_found() {
        let mut values = vec![1e-7; 1000];
        values[500] = 1.0;
        let weights = Weights::of(values);
        for (mass, token) in [(1.0, 500), (1.0 + 0.5e-7, 0), (1.0 + 9.5e-7, 9), (1.0 + 999e-7, 999)] {
            let last = Buckets::default().last_in_mass(Isa::PORTABLE, &weights, mass, &mut Vec::new());
            assert_eq!(last.token, token);
        }
    }
}
