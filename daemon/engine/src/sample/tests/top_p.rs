//! Tokens drawn with top-p alone against its plain definition, on every instruction set.

use ostro_kernels::cpu::isa::Isa;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const LEN: usize = 3_001;

/// Sorts all tokens, keeps those that have the mass, and takes the one at `uniform` of theirs.
fn plain(logits: &[f32], top_p: f32, uniform: f64) -> TokenId {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|logit| f64::from(softmax::exp(logit - largest))).collect();
    let total: f64 = weights.iter().sum();
    let mut sorted: Vec<usize> = (0..logits.len()).collect();
    sorted.sort_by(|left, right| weights[*right].total_cmp(&weights[*left]).then(left.cmp(right)));
    let mut mass = 0.0;
    let reached = sorted.iter().position(|token| {
        mass += weights[*token];
        mass >= f64::from(top_p) * total
    });
    sorted.truncate(reached.map_or(usize::MAX, |last| last + 1));
    sorted.sort_unstable();
    let kept: f64 = sorted.iter().map(|token| weights[*token]).sum();
    let mut running = 0.0;
    let drawn = sorted.iter().find(|token| {
        running += weights[**token];
        running > uniform * kept
    });
    *drawn.unwrap() as TokenId
}

fn spread(spread: f32) -> Vec<f32> {
    let mut random = ChaCha12Rng::seed_from_u64(9);
    let mut uniform = || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    (0..LEN).map(|_| (uniform() + uniform() + uniform()) * spread).collect()
}

fn check(logits: &[f32], allowed: Option<&TokenMask>) {
    let masked = |(logit, token)| match allowed.is_none_or(|allowed| allowed.allows(token)) {
        true => logit,
        false => f32::NEG_INFINITY,
    };
    let expected: Vec<f32> = logits.iter().copied().zip(0..).map(masked).collect();
    for top_p in [1e-6, 0.3, 0.95, 0.9999] {
        let sampling = Sampling { temperature: 1.0, top_p, ..GREEDY };
        for isa in Isa::supported() {
            let mut scratch = Scratch::new(isa);
            let mut random = ChaCha12Rng::seed_from_u64(1);
            let mut sampler = Sampler::new(options(sampling.clone(), LEN)).unwrap();
            for _ in 0..20 {
                let uniform = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                let input =
                    SampleInput { logits: &mut logits.to_vec(), history: History::new(&[0], 1), allowed };
                let id = sampler.sample(input, &mut scratch).unwrap().id;
                assert_eq!(id, plain(&expected, top_p, uniform), "{isa}, {top_p}");
            }
        }
    }
}

#[test]
fn tokens_are_those_of_the_definition() {
    for logits in [spread(1.0), spread(12.0), spread(300.0), vec![0.0; LEN]] {
        check(&logits, None);
    }
    let ties: Vec<f32> = spread(3.0).iter().map(|logit| logit.round()).collect();
    check(&ties, None);
}

#[test]
fn impossible_tokens_have_no_mass() {
    let mut allowed = TokenMask::new(LEN);
    (7..LEN as TokenId).step_by(131).for_each(|token| allowed.allow(token));
    for logits in [spread(1.0), spread(12.0), vec![0.0; LEN]] {
        check(&logits, Some(&allowed));
    }
}

#[test]
fn logits_that_are_not_finite_are_refused() {
    let sampling = Sampling { temperature: 1.0, top_p: 0.9, ..GREEDY };
    for isa in Isa::supported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut logits = spread(1.0);
            logits[LEN - 2] = bad;
            let input = SampleInput { logits: &mut logits, history: History::new(&[0], 1), allowed: None };
            let sampled =
                Sampler::new(options(sampling.clone(), LEN)).unwrap().sample(input, &mut Scratch::new(isa));
            assert_eq!(sampled.unwrap_err(), SampleError::NotFinite, "{isa}: {bad}");
        }
    }
}
