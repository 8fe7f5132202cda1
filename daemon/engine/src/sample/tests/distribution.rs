//! Drawn tokens against exact probabilities.
//!
//! The expected distribution is computed step by step in f64, by sorting. 20 000 draws with fixed seeds are compared by
//! Pearson's chi-square over the cells that expect at least 5; the bound, `cells + 5 * sqrt(2 * cells) + 10`, is more
//! than five standard deviations above the mean, so another seed would pass as well.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const DRAWS: usize = 20_000;

fn random_logits(seed: u64, len: usize, spread: f32) -> Vec<f32> {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    (0..len).map(|_| ((random.next_u64() % 10_000) as f32 / 10_000.0 - 0.5) * spread).collect()
}

/// Probabilities by token: temperature, top-k, top-p of what is left, min-p.
fn expected(sampling: &Sampling, logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| (f64::from(logit - largest) / f64::from(sampling.temperature)).exp();
    let mut sorted: Vec<(usize, f64)> = logits.iter().map(weight).enumerate().collect();
    sorted.sort_by(|left, right| right.1.total_cmp(&left.1));
    sorted.truncate(sampling.top_k.map_or(usize::MAX, |k| k as usize));
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut mass = 0.0;
    let reached = sorted.iter().position(|(_, weight)| {
        mass += weight / total;
        mass >= f64::from(sampling.top_p)
    });
    sorted.truncate(reached.map_or(usize::MAX, |last| last + 1));
    let likeliest = sorted[0].1;
    sorted.retain(|(_, weight)| weight / likeliest >= f64::from(sampling.min_p));
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut probabilities = vec![0.0; logits.len()];
    for (token, weight) in sorted {
        probabilities[token] = weight / total;
    }
    probabilities
}

fn check(sampling: Sampling, logits: &[f32]) {
    let expected = expected(&sampling, logits);
    let mut counts = vec![0usize; logits.len()];
    let mut sampler = Sampler::new(options(sampling.clone(), logits.len())).unwrap();
    let mut scratch = Scratch::new(Isa::detect());
    let mut buffer = Vec::new();
    for _ in 0..DRAWS {
        buffer.clear();
        buffer.extend_from_slice(logits);
        let input = SampleInput { logits: &mut buffer, history: History::new(&[0], 1), allowed: None };
        counts[sampler.sample(input, &mut scratch).unwrap().id as usize] += 1;
    }
    let mut chi_square = 0.0;
    let mut cells = 0.0;
    let mut rare = (0.0, 0.0);
    for (count, probability) in counts.iter().zip(&expected) {
        assert!(*probability > 0.0 || *count == 0, "{sampling:?} cuts this token");
        let mean = probability * DRAWS as f64;
        if mean < 5.0 {
            rare = (rare.0 + *count as f64, rare.1 + mean);
            continue;
        }
        chi_square += (*count as f64 - mean).powi(2) / mean;
        cells += 1.0;
    }
    if rare.1 >= 5.0 {
        chi_square += (rare.0 - rare.1).powi(2) / rare.1;
        cells += 1.0;
    }
    let bound = cells + 5.0 * f64::sqrt(2.0 * cells) + 10.0;
    assert!(chi_square < bound, "{sampling:?}: {chi_square} over {cells} cells");
}

fn at(temperature: f32) -> Sampling {
    Sampling { temperature, ..GREEDY }
}

#[test]
fn draws_follow_the_softmax() {
    check(at(1.0), &[0.0, 1.0, 2.0]);
    check(at(1.0), &random_logits(1, 300, 6.0));
    check(at(0.5), &random_logits(2, 40, 6.0));
    check(at(1e3), &random_logits(3, 17, 6.0));
    check(at(1e-3), &random_logits(4, 17, 6.0));
}

#[test]
fn each_cut_alone_leaves_the_right_distribution() {
    for (seed, len) in [(5, 30), (6, 1000)] {
        let logits = random_logits(seed, len, 8.0);
        for k in [1, 2, 7, 29, 30, 5000] {
            check(Sampling { top_k: Some(k), ..at(1.0) }, &logits);
        }
        for p in [1e-6, 0.1, 0.5, 0.9, 0.999] {
            check(Sampling { top_p: p, ..at(1.0) }, &logits);
        }
        for p in [1e-6, 0.05, 0.3, 1.0] {
            check(Sampling { min_p: p, ..at(1.0) }, &logits);
        }
    }
}

#[test]
fn cuts_together_apply_in_their_order() {
    let logits = random_logits(7, 200, 8.0);
    check(Sampling { top_k: Some(20), top_p: 0.8, min_p: 0.05, ..at(1.3) }, &logits);
    check(Sampling { top_p: 0.7, min_p: 0.1, ..at(0.7) }, &logits);
    check(Sampling { top_k: Some(50), min_p: 0.2, ..at(2.0) }, &logits);
}

#[test]
fn top_p_is_of_the_mass_that_top_k_leaves() {
    // 0.4 of 0.7 reaches one half; 0.4 of 1 does not.
    let logits = [0.4f32, 0.3, 0.2, 0.1].map(f32::ln);
    let only_first = Sampling { top_k: Some(2), top_p: 0.5, ..at(1.0) };
    assert_eq!(expected(&only_first, &logits)[1], 0.0);
    check(only_first, &logits);
    check(Sampling { top_p: 0.5, ..at(1.0) }, &logits);
}

#[test]
fn temperature_precedes_the_cuts() {
    // At temperature 1 the first token has more than half of the mass, at 4 it has not.
    let logits = [2.0, 1.0, 0.0, -1.0];
    let hot = Sampling { top_p: 0.5, ..at(4.0) };
    assert!(expected(&hot, &logits)[1] > 0.0);
    assert_eq!(expected(&Sampling { temperature: 1.0, ..hot.clone() }, &logits)[1], 0.0);
    check(hot, &logits);
}

#[test]
fn cuts_between_equal_weights_keep_the_lower_tokens() {
    let logits: Vec<f32> = random_logits(8, 500, 4.0).iter().map(|logit| logit.round()).collect();
    for p in [0.4, 0.8] {
        check(Sampling { top_p: p, ..at(1.0) }, &logits);
        check(Sampling { top_p: p, top_k: Some(300), ..at(1.0) }, &logits);
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_whatever_else_runs() {
    let sampling = Sampling { top_k: Some(40), top_p: 0.95, repetition_penalty: 1.1, ..at(0.9) };
    let sampler = |seed| Sampler::new(SamplerOptions { seed, ..options(sampling.clone(), 500) }).unwrap();
    let generate = |sampler: &mut Sampler, others: &mut [Sampler]| {
        let mut scratch = Scratch::new(Isa::detect());
        let mut tokens = vec![3];
        for step in 0..60 {
            let logits = random_logits(100 + step, 500, 9.0);
            for other in others.iter_mut() {
                let history = History::new(&tokens, 1);
                other
                    .sample(SampleInput { logits: &mut logits.clone(), history, allowed: None }, &mut scratch)
                    .unwrap();
            }
            let history = History::new(&tokens, 1);
            let input = SampleInput { logits: &mut logits.clone(), history, allowed: None };
            let token = sampler.sample(input, &mut scratch).unwrap();
            tokens.push(token.id);
        }
        tokens
    };
    let alone = generate(&mut sampler(7), &mut []);
    assert_eq!(alone, generate(&mut sampler(7), &mut [sampler(8), sampler(9)]));
    assert_ne!(alone, generate(&mut sampler(8), &mut []));
}
