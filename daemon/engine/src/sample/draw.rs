//! Temperature, the cuts, and the draw. Tokens stay in the order of their ids, so a draw does not depend on how the cuts
//! were found.

use super::sampler::Scratch;
use super::select::{self, Candidate, by_token, by_value, count_to_mass};
use super::softmax;
use crate::request::TokenId;

pub(super) struct Cuts {
    pub(super) temperature: f32,
    pub(super) top_k: usize,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    /// The largest logit.
    pub(super) largest: f32,
}

/// The token at `uniform` (0 to 1) of the distribution that the cuts leave.
pub(super) fn draw(logits: &[f32], cuts: &Cuts, uniform: f64, scratch: &mut Scratch) -> TokenId {
    let Scratch { candidates, weights, .. } = scratch;
    let scale = 1.0 / cuts.temperature;
    let mut total;
    if cuts.top_k < logits.len() {
        select::top_k(logits, cuts.top_k, candidates);
        for candidate in candidates.iter_mut() {
            candidate.value = softmax::exp((candidate.value - cuts.largest) * scale);
        }
        total = select::sum(candidates);
    } else {
        total = softmax::weights(logits, cuts.largest, scale, weights);
        if cuts.top_p >= 1.0 && cuts.min_p == 0.0 {
            return softmax::find_mass(weights, uniform * total) as TokenId;
        }
        // All tokens below this together have less than half of the mass that top-p cuts off.
        let floor = (1.0 - f64::from(cuts.top_p)) * total / (2 * logits.len()) as f64;
        let floor = if cuts.top_p < 1.0 { floor as f32 } else { cuts.min_p };
        select_at_least(weights, floor, candidates);
    }
    if cuts.top_p < 1.0 {
        let kept = count_to_mass(candidates, f64::from(cuts.top_p) * total, by_value);
        candidates.truncate(kept);
    }
    // The likeliest token has weight 1.
    candidates.retain(|candidate| candidate.value >= cuts.min_p && candidate.value > 0.0);
    total = select::sum(candidates);
    let end = count_to_mass(candidates, uniform * total, by_token);
    candidates[end - 1].token
}

fn select_at_least(weights: &[f32], floor: f32, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    for (index, chunk) in weights.chunks(16).enumerate() {
        if chunk.iter().fold(false, |any, weight| any | (*weight >= floor)) {
            let entries = chunk.iter().zip((index * 16) as TokenId..);
            let entries = entries.map(|(&value, token)| Candidate { value, token });
            candidates.extend(entries.filter(|entry| entry.value >= floor));
        }
    }
}
