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
