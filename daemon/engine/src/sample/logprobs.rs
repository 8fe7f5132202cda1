//! Log probabilities of the chosen and the likeliest tokens.

use super::sampler::Scratch;
use super::select::{self, by_value};
use super::softmax;
use crate::request::{TokenId, TokenLogprobs};

/// Impossible tokens are not listed.
pub(super) fn read(
    logits: &[f32],
    token: TokenId,
    top: u8,
    largest: f32,
    scratch: &mut Scratch,
) -> TokenLogprobs {
    let log_sum = softmax::log_sum_exp(scratch.isa, logits, largest);
    let logprob = |logit: f32| (f64::from(logit) - log_sum) as f32;
    let candidates = &mut scratch.candidates;
    candidates.clear();
    if top > 0 {
        select::top_k(scratch.isa, logits, usize::from(top), candidates);
        candidates.sort_unstable_by(by_value);
    }
    let possible = candidates.iter().filter(|candidate| candidate.value > f32::NEG_INFINITY);
    TokenLogprobs {
        logprob: logprob(logits[token as usize]),
        top: possible.map(|candidate| (candidate.token, logprob(candidate.value))).collect(),
    }
}
