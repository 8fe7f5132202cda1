//! The sampler as a whole: order of the steps, errors, log probabilities. Distributions are in `distribution`.

mod distribution;
mod top_p;

use ostro_kernels::cpu::isa::Isa;

use super::*;
use crate::request::{Dry, Sampling, Token, TokenId};

const GREEDY: Sampling = Sampling {
    temperature: 0.0,
    top_k: None,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    dry: None,
    logit_bias: Vec::new(),
    seed: None,
};

fn options(sampling: Sampling, vocab_size: usize) -> SamplerOptions {
    SamplerOptions { sampling, seed: 1, vocab_size, end_tokens: [].into(), min_tokens: 0, logprobs: None }
}

fn sample_with(
    options: SamplerOptions,
    logits: &[f32],
    prompt: &[TokenId],
    generated: &[TokenId],
    allowed: Option<&TokenMask>,
) -> Result<Token, SampleError> {
    let tokens = [prompt, generated].concat();
    let history = History::new(&tokens, prompt.len());
    let sample = |isa| {
        let input = SampleInput { logits: &mut logits.to_vec(), history, allowed };
        Sampler::new(options.clone()).unwrap().sample(input, &mut Scratch::new(isa))
    };
    let expected = sample(Isa::PORTABLE);
    for isa in Isa::supported() {
        assert_eq!(sample(isa), expected, "{isa}");
    }
    expected
}

/// The log probabilities of all tokens (at most 20), by token.
fn logprobs(sampling: Sampling, logits: &[f32], prompt: &[TokenId], generated: &[TokenId]) -> Vec<f32> {
    let options = SamplerOptions { logprobs: Some(logits.len() as u8), ..options(sampling, logits.len()) };
    let token = sample_with(options, logits, prompt, generated, None).unwrap();
    let mut top = token.logprobs.unwrap().top;
    top.sort_by_key(|(token, _)| *token);
    top.into_iter().map(|(_, logprob)| logprob).collect()
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - sum.ln()).collect()
}

/// What penalties and bias make of logits shows in the log probabilities.
fn check_adjusted(sampling: Sampling, expected: &[f64]) {
    let logits = [2.0, -1.0, 0.5, 3.0, 1.0];
    let (prompt, generated) = ([0, 1, 3], [3, 1, 2, 3, 1]);
    let read = logprobs(sampling.clone(), &logits, &prompt, &generated);
    for (read, expected) in read.iter().zip(log_softmax(expected)) {
        assert!((f64::from(*read) - expected).abs() < 1e-5, "{sampling:?}: {read} {expected}");
    }
    assert_eq!(read.len(), expected.len());
}

#[test]
fn penalties_count_what_they_should() {
    check_adjusted(GREEDY, &[2.0, -1.0, 0.5, 3.0, 1.0]);
    check_adjusted(Sampling { presence_penalty: 0.5, ..GREEDY }, &[2.0, -1.5, 0.0, 2.5, 1.0]);
    check_adjusted(Sampling { frequency_penalty: 0.5, ..GREEDY }, &[2.0, -2.0, 0.0, 2.0, 1.0]);
    check_adjusted(Sampling { repetition_penalty: 2.0, ..GREEDY }, &[1.0, -2.0, 0.25, 1.5, 1.0]);
    check_adjusted(Sampling { logit_bias: vec![(4, 2.0), (0, -1.0)], ..GREEDY }, &[1.0, -1.0, 0.5, 3.0, 3.0]);
}

#[test]
fn the_repetition_penalty_follows_the_others_and_precedes_bias() {
    let sampling = Sampling {
        presence_penalty: 1.0,
        frequency_penalty: 0.5,
        repetition_penalty: 2.0,
        logit_bias: vec![(3, 1.0)],
        ..GREEDY
    };
    check_adjusted(sampling, &[1.0, -6.0, -2.0, 1.5, 1.0]);
}

#[test]
fn dry_precedes_the_repetition_penalty() {
    // Token 1 followed by 2 would repeat; 1 alone is a repetition of length 1.
    let dry = Dry { multiplier: 0.5, base: 2.0, allowed_length: 1, breakers: [].into() };
    let sampling = Sampling { dry: Some(dry), repetition_penalty: 2.0, ..GREEDY };
    // The text 0 1 3 3 1 2 3 1: "3 1" was followed by 2 (n = 2), "1" by 3 (n = 1).
    check_adjusted(sampling, &[1.0, -2.0, -1.0, 1.25, 1.0]);
}

#[test]
fn log_probabilities_ignore_temperature_and_cuts() {
    let sampling = Sampling { temperature: 0.3, top_k: Some(2), top_p: 0.5, min_p: 0.2, ..GREEDY };
    check_adjusted(sampling, &[2.0, -1.0, 0.5, 3.0, 1.0]);
}

#[test]
fn the_likeliest_come_first_and_the_chosen_is_reported_apart() {
    let logits = [0.0, 2.0, 1.0, 2.0, -5.0];
    let sampling = Sampling { logit_bias: vec![(4, 100.0)], ..GREEDY };
    let options = SamplerOptions { logprobs: Some(3), ..options(sampling, 5) };
    let token = sample_with(options.clone(), &logits, &[0], &[], None).unwrap();
    let top: Vec<_> = token.logprobs.as_ref().unwrap().top.iter().map(|(token, _)| *token).collect();
    assert_eq!((token.id, top), (4, vec![4, 1, 3]));
    assert_eq!(token.logprobs.unwrap().logprob, 0.0);
    let none = SamplerOptions { logprobs: Some(0), ..options };
    assert_eq!(sample_with(none, &logits, &[0], &[], None).unwrap().logprobs.unwrap().top, []);
}

#[test]
fn greedy_takes_the_lowest_of_equal_tokens() {
    let mut logits = vec![0.0; 100];
    logits[37] = 4.0;
    logits[90] = 4.0;
    assert_eq!(sample_with(options(GREEDY, 100), &logits, &[0], &[], None).unwrap().id, 37);
}

#[test]
fn end_tokens_wait_for_min_tokens() {
    let logits = [1.0, 5.0, 3.0];
    let end_tokens = [1, 99].into();
    let options = SamplerOptions { end_tokens, min_tokens: 2, ..options(GREEDY, 3) };
    for (generated, expected) in [(&[][..], 2), (&[2], 2), (&[2, 2], 1)] {
        assert_eq!(sample_with(options.clone(), &logits, &[0], generated, None).unwrap().id, expected);
    }
}

#[test]
fn only_allowed_tokens_are_sampled_and_listed() {
    let mut allowed = TokenMask::new(70);
    allowed.allow(2);
    allowed.allow(69);
    let mut logits = vec![1.0; 70];
    logits[0] = 50.0;
    let sampling = Sampling { temperature: 1.0, ..GREEDY };
    for seed in 0..50 {
        let options = SamplerOptions { seed, logprobs: Some(5), ..options(sampling.clone(), 70) };
        let token = sample_with(options, &logits, &[0], &[], Some(&allowed)).unwrap();
        assert!(allowed.allows(token.id));
        let top = token.logprobs.unwrap().top;
        assert_eq!(top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [2, 69]);
        assert!((top[0].1 - 0.5f32.ln()).abs() < 1e-6);
    }
    allowed.clear();
    let error = sample_with(options(GREEDY, 70), &logits, &[0], &[], Some(&allowed)).unwrap_err();
    assert_eq!(error, SampleError::NothingAllowed);
}

#[test]
fn logits_that_cannot_be_used_are_errors() {
    let check = |sampling: Sampling, logits: &[f32], expected| {
        assert_eq!(sample_with(options(sampling, 2), logits, &[0], &[1], None).unwrap_err(), expected);
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        check(GREEDY, &[0.0, bad], SampleError::NotFinite);
        check(Sampling::default(), &[bad, 0.0], SampleError::NotFinite);
    }
    check(GREEDY, &[0.0], SampleError::LogitsLength { found: 1, vocab_size: 2 });
    let overflowing = Sampling { logit_bias: vec![(0, 3e38), (0, 3e38)], ..GREEDY };
    check(overflowing, &[0.0, 0.0], SampleError::NotFinite);
}

#[test]
fn tokens_outside_the_vocabulary_do_no_harm() {
    let dry = Dry { multiplier: 0.5, base: 2.0, allowed_length: 0, breakers: [].into() };
    let sampling = Sampling { dry: Some(dry), repetition_penalty: 2.0, frequency_penalty: 1.0, ..GREEDY };
    let token = sample_with(options(sampling, 2), &[1.0, 0.5], &[9, 9, 9], &[9, 9], None).unwrap();
    assert_eq!(token.id, 0);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |sampling| Sampler::new(options(sampling, 8)).unwrap_err().to_string();
    for (sampling, name) in [
        (Sampling { temperature: -1.0, ..GREEDY }, "temperature = -1 "),
        (Sampling { temperature: f32::NAN, ..GREEDY }, "temperature = NaN "),
        (Sampling { top_k: Some(0), ..GREEDY }, "top_k"),
        (Sampling { top_p: 0.0, ..GREEDY }, "top_p = 0 "),
        (Sampling { top_p: 1.5, ..GREEDY }, "top_p = 1.5 "),
        (Sampling { min_p: -0.1, ..GREEDY }, "min_p = -0.1 "),
        (Sampling { repetition_penalty: 0.0, ..GREEDY }, "repetition_penalty = 0 "),
        (Sampling { presence_penalty: f32::INFINITY, ..GREEDY }, "presence_penalty = inf "),
        (Sampling { frequency_penalty: f32::NAN, ..GREEDY }, "frequency_penalty = NaN "),
        (Sampling { logit_bias: vec![(1, f32::NAN)], ..GREEDY }, "logit_bias = NaN "),
        (Sampling { logit_bias: vec![(8, 1.0)], ..GREEDY }, "logit_bias names token 8"),
    ] {
        assert!(refused(sampling.clone()).starts_with(name), "{}", refused(sampling));
    }
    let many = SamplerOptions { logprobs: Some(21), ..options(GREEDY, 8) };
    assert_eq!(Sampler::new(many).unwrap_err(), SamplerError::TooManyLogprobs { logprobs: 21 });
}

#[test]
fn the_best_token_is_enough_only_where_nothing_changes_logits_or_reads_others() {
    let dry = Dry { multiplier: 0.5, base: 2.0, allowed_length: 1, breakers: [].into() };
    let takes_best = |options: SamplerOptions| {
        let tokens = [1, 2, 3];
        Sampler::new(options).unwrap().takes_best(History::new(&tokens, 1))
    };
    assert!(takes_best(options(GREEDY, 5)));
    assert!(takes_best(options(Sampling { temperature: 1e-8, top_k: Some(2), top_p: 0.5, ..GREEDY }, 5)));
    assert!(takes_best(SamplerOptions { min_tokens: 2, ..options(GREEDY, 5) }));
    for sampling in [
        Sampling { temperature: 0.1, ..GREEDY },
        Sampling { repetition_penalty: 1.1, ..GREEDY },
        Sampling { presence_penalty: 0.1, ..GREEDY },
        Sampling { frequency_penalty: -0.1, ..GREEDY },
        Sampling { logit_bias: vec![(1, 0.5)], ..GREEDY },
        Sampling { dry: Some(dry), ..GREEDY },
    ] {
        assert!(!takes_best(options(sampling.clone(), 5)), "{sampling:?}");
    }
    assert!(!takes_best(SamplerOptions { min_tokens: 3, ..options(GREEDY, 5) }));
    assert!(!takes_best(SamplerOptions { logprobs: Some(0), ..options(GREEDY, 5) }));
}
