//! Largest values without sorting a vocabulary: maximum, the `k` best, the smallest set of a given mass.

use std::cmp::Ordering;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::plain::PlainKernel;

use crate::request::TokenId;

const LANES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// A logit or a weight, never NaN.
    pub(super) value: f32,
    pub(super) token: TokenId,
}

/// Best first: larger values, then lower tokens.
pub(super) fn by_value(left: &Candidate, right: &Candidate) -> Ordering {
    right.value.total_cmp(&left.value).then(left.token.cmp(&right.token))
}

pub(super) fn by_token(left: &Candidate, right: &Candidate) -> Ordering {
    left.token.cmp(&right.token)
}

/// The largest value, if all are finite (and there are any).
pub(super) fn largest_finite(isa: Isa, values: &[f32]) -> Option<f32> {
    let (largest, finite) = isa.run_plain(Largest(values));
    (finite && !values.is_empty()).then_some(largest)
}

/// The largest value; negative infinity of nothing.
pub(super) fn largest(isa: Isa, values: &[f32]) -> f32 {
    isa.run_plain(Largest(values)).0
}

/// And whether all are finite.
struct Largest<'a>(&'a [f32]);

impl PlainKernel for Largest<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run(self) -> (f32, bool) {
        let mut zeros = [0.0f32; LANES];
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                // Zero for finite values, NaN otherwise; NaN stays.
                zeros[lane] += chunk[lane] * 0.0;
                lanes[lane] = larger(lanes[lane], chunk[lane]);
            }
        }
        let finite = zeros.iter().chain(rest).all(|value| value.is_finite());
        let largest = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
        (largest, finite)
    }
}

/// One machine instruction, unlike `f32::max`.
#[inline(always)]
fn larger(left: f32, right: f32) -> f32 {
    if left > right { left } else { right }
}

/// The first place of a value that occurs.
pub(super) fn first_of(isa: Isa, values: &[f32], value: f32) -> TokenId {
    isa.run_plain(FirstOf { values, value }) as TokenId
}

struct FirstOf<'a> {
    values: &'a [f32],
    value: f32,
}

impl PlainKernel for FirstOf<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let FirstOf { values, value } = self;
        let is_in = |chunk: &[f32]| chunk.iter().fold(false, |found, other| found | (*other == value));
        let chunk = values.chunks(8 * LANES).position(is_in).expect("the value occurs");
        let first = chunk * 8 * LANES;
        first + values[first..].iter().position(|other| *other == value).expect("the value occurs")
    }
}

/// The `k` best values in any order, or all when there are fewer.
pub(super) fn top_k(isa: Isa, values: &[f32], k: usize, best: &mut Vec<Candidate>) {
    isa.run_plain(TopK { values, k, best });
}

struct TopK<'a> {
    values: &'a [f32],
    k: usize,
    best: &'a mut Vec<Candidate>,
}

impl PlainKernel for TopK<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let TopK { values, k, best } = self;
        let room = (2 * k).max(256);
        best.clear();
        best.reserve(room.min(values.len()) + LANES);
        let mut threshold = f32::NEG_INFINITY;
        for (index, chunk) in values.chunks(LANES).enumerate() {
            // Later tokens lose ties, so only larger values can enter once there are `k`.
            let any = chunk.iter().fold(false, |any, value| any | (*value > threshold));
            if best.len() >= k && !any {
                continue;
            }
            let entries = chunk.iter().zip((index * LANES) as TokenId..);
            let entries = entries.map(|(&value, token)| Candidate { value, token });
            best.extend(entries.filter(|entry| threshold == f32::NEG_INFINITY || entry.value > threshold));
            if best.len() >= room {
                keep_k(best, k);
                threshold = best[k - 1].value;
            }
        }
        keep_k(best, k);
    }
}

fn keep_k(best: &mut Vec<Candidate>, k: usize) {
    if best.len() > k {
        best.select_nth_unstable_by(k - 1, by_value);
        best.truncate(k);
    }
}

/// In the given order, the smallest number of candidates (at least one) whose values sum up to `mass`, or all. They are
/// moved to the front, the last of them in its place.
pub(super) fn count_to_mass(
    candidates: &mut [Candidate],
    mass: f64,
    order: fn(&Candidate, &Candidate) -> Ordering,
) -> usize {
    // The first `start` candidates have less than `mass`, the first `end` have it (or are all).
    let (mut start, mut end) = (0, candidates.len());
    let mut mass_start = 0.0;
    while end - start > 1 {
        let middle = start.midpoint(end);
        candidates[start..end].select_nth_unstable_by(middle - start, order);
        let mass_middle = mass_start + sum(&candidates[start..middle]);
        if mass_middle >= mass {
            end = middle;
        } else {
            (start, mass_start) = (middle, mass_middle);
        }
    }
    end
}

pub(super) fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.value)).sum()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// Few distinct values, so that ties are common.
    fn values(seed: u64, len: usize) -> Vec<f32> {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        (0..len).map(|_| (random.next_u64() % 50) as f32 - 25.0).collect()
    }

    fn sorted(values: &[f32]) -> Vec<Candidate> {
        let mut all: Vec<_> =
            values.iter().zip(0..).map(|(&value, token)| Candidate { value, token }).collect();
        all.sort_by(by_value);
        all
    }

    #[test]
    fn top_k_is_the_start_of_the_sorted_values() {
        for (seed, len) in (0..).zip([1, 7, 16, 17, 300, 5000]) {
            let mut values = values(seed, len);
            if len > 100 {
                values[3..90].fill(f32::NEG_INFINITY);
            }
            for k in [1, 2, 5, 40, 299, 3000, 6000] {
                for isa in Isa::supported() {
                    let mut best = Vec::new();
                    top_k(isa, &values, k, &mut best);
                    best.sort_by(by_value);
                    assert_eq!(best, sorted(&values)[..k.min(len)], "{isa}: {k} of {len}");
                }
            }
        }
    }

    #[test]
    fn count_to_mass_is_the_shortest_start_of_the_sorted_values() {
        for (seed, len) in (0..).zip([1, 2, 3, 50, 1000]) {
            let values: Vec<f32> = values(seed, len).iter().map(|value| value + 26.0).collect();
            let sorted = sorted(&values);
            for part in [0.0, 0.1, 0.5, 0.9, 0.999, 1.0, 1.1] {
                let mass = part * sum(&sorted);
                let expected = (1..len).find(|count| sum(&sorted[..*count]) >= mass).unwrap_or(len);
                let mut candidates = sorted.clone();
                candidates.sort_by(by_token);
                assert_eq!(count_to_mass(&mut candidates, mass, by_value), expected);
                assert_eq!(candidates[expected - 1], sorted[expected - 1]);
                candidates[..expected].sort_by(by_value);
                assert_eq!(candidates[..expected], sorted[..expected]);
            }
        }
    }

    #[test]
    fn the_first_of_equal_largest_values_is_found_anywhere() {
        for len in [1, 15, 16, 17, 100] {
            for place in 0..len {
                let mut values = vec![-3.0; len];
                values[place..].fill(2.5);
                for isa in Isa::supported() {
                    assert_eq!(largest(isa, &values), 2.5, "{isa}");
                    assert_eq!(first_of(isa, &values, 2.5), place as TokenId, "{isa}");
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_found_anywhere() {
        let check = |isa, len| {
            assert_eq!(largest_finite(isa, &vec![-1e30; len]), Some(-1e30), "{isa}");
            for place in 0..len {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = vec![1.0; len];
                    values[place] = bad;
                    assert_eq!(largest_finite(isa, &values), None, "{isa}: {bad} at {place} of {len}");
                }
            }
        };
        for isa in Isa::supported() {
            [1, 16, 17, 40].into_iter().for_each(|len| check(isa, len));
            assert_eq!(largest_finite(isa, &[]), None, "{isa}");
        }
    }
}
