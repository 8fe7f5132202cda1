//! DRY, "don't repeat yourself": a token that would continue a repetition loses `multiplier * base ^ (n - allowed)`,
//! where `n` is the length of the longest earlier text before that token that also ends the sequence now.
//!
//! Breakers are never penalised and no repetition reaches across one. Source: text-generation-webui, pull request 5677;
//! the search there is quadratic for repetitive text, here it is linear (Z function of the reversed text).

use super::history::History;
use crate::request::{Dry, TokenId};

/// Large enough to forbid a token, small enough for sums to stay finite.
const PENALTY_MAX: f64 = 1e30;

#[derive(Debug, Default)]
pub(super) struct DryScratch {
    matches: Vec<u32>,
    /// By token, the longest repetition that it would continue; zero between calls.
    longest: Vec<u32>,
    touched: Vec<TokenId>,
}

pub(super) fn apply(dry: &Dry, logits: &mut [f32], history: History<'_>, scratch: &mut DryScratch) {
    let tokens = history.tokens();
    let is_breaker = |token: &TokenId| dry.breakers.binary_search(token).is_ok();
    let reach = tokens.iter().rev().take_while(|token| !is_breaker(token)).count();
    if dry.multiplier == 0.0 || reach == 0 {
        return;
    }
    match_ends(tokens, &mut scratch.matches);
    scratch.longest.resize(logits.len().max(scratch.longest.len()), 0);
    for (back, &length) in scratch.matches.iter().enumerate().skip(1) {
        // The text that ends `back` tokens before the end was followed by this token.
        let next = tokens[tokens.len() - back];
        let length = length.min(reach as u32);
        if length == 0 || length < dry.allowed_length || next as usize >= logits.len() || is_breaker(&next) {
            continue;
        }
        let longest = &mut scratch.longest[next as usize];
        if *longest == 0 {
            scratch.touched.push(next);
        }
        *longest = length.max(*longest);
    }
    for token in scratch.touched.drain(..) {
        let length = std::mem::take(&mut scratch.longest[token as usize]);
        let excess = (length - dry.allowed_length).min(i32::MAX as u32) as i32;
        let penalty = f64::from(dry.multiplier) * f64::from(dry.base).powi(excess);
        logits[token as usize] -= penalty.min(PENALTY_MAX) as f32;
    }
}

/// `matches[back]`: how many tokens before position `len - back` equal the last tokens (the Z function of the reversed
/// text; `matches[0]` means nothing).
fn match_ends(tokens: &[TokenId], matches: &mut Vec<u32>) {
    let len = tokens.len();
    let at = |index: usize| tokens[len - 1 - index];
    matches.clear();
    matches.resize(len, 0);
    // The match found so far that reaches furthest: `reversed[left..right]` equals the start.
    let (mut left, mut right) = (0, 0);
    for back in 1..len {
        let known = if back < right { (matches[back - left] as usize).min(right - back) } else { 0 };
        let mut length = known;
        while back + length < len && at(length) == at(back + length) {
            length += 1;
        }
        if back + length > right {
            (left, right) = (back, back + length);
        }
        matches[back] = length as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// As in the source, word for word.
    fn naive(dry: &Dry, logits: &mut [f32], tokens: &[TokenId]) {
        let Some(&last) = tokens.last() else { return };
        if dry.breakers.contains(&last) {
            return;
        }
        let mut lengths = BTreeMap::new();
        for index in (0..tokens.len() - 1).filter(|index| tokens[*index] == last) {
            let next = tokens[index + 1];
            if dry.breakers.contains(&next) {
                continue;
            }
            let mut length = 1;
            while length <= index {
                let previous = tokens[tokens.len() - 1 - length];
                if tokens[index - length] != previous || dry.breakers.contains(&previous) {
                    break;
                }
                length += 1;
            }
            let longest = lengths.entry(next).or_insert(0);
            *longest = length.max(*longest);
        }
        for (next, length) in lengths {
            if length >= dry.allowed_length as usize {
                let excess = (length - dry.allowed_length as usize) as i32;
                logits[next as usize] -=
                    (f64::from(dry.multiplier) * f64::from(dry.base).powi(excess)) as f32;
            }
        }
    }

    #[test]
    fn random_texts_are_penalised_as_by_the_naive_search() {
        let mut random = ChaCha12Rng::seed_from_u64(1);
        let mut below = |n: u64| (random.next_u64() % n) as u32;
        let mut scratch = DryScratch::default();
        let mut penalised = 0;
        for _ in 0..4000 {
            let vocab_size = 2 + below(6);
            let tokens: Vec<TokenId> = (0..below(40)).map(|_| below(vocab_size.into())).collect();
            let breakers = (0..vocab_size).filter(|_| below(6) == 0).collect();
            let dry = Dry { multiplier: 0.8, base: 1.75, allowed_length: below(5), breakers };
            let mut expected = vec![1.0; vocab_size as usize];
            let mut logits = expected.clone();
            naive(&dry, &mut expected, &tokens);
            apply(&dry, &mut logits, History::new(&tokens, 0), &mut scratch);
            assert_eq!(logits, expected, "{dry:?} {tokens:?}");
            penalised += usize::from(logits.iter().any(|logit| *logit != 1.0));
        }
        assert!(penalised > 1000);
    }

    #[test]
    fn a_long_loop_gives_a_finite_penalty() {
        let dry = Dry { multiplier: 1.0, base: 2.0, allowed_length: 2, breakers: [].into() };
        let tokens = vec![1; 10_000];
        let mut logits = [0.0; 3];
        apply(&dry, &mut logits, History::new(&tokens, 5), &mut DryScratch::default());
        assert_eq!(logits, [0.0, -1e30, 0.0]);
    }
}
