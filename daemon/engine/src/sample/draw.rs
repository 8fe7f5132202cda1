//! Temperature, the cuts, and the draw. A draw looks at tokens in the order of their ids, so it does not depend on how
//! the cuts were found: among the candidates that top-k leaves, else in the whole vocabulary.

use super::sampler::Scratch;
use super::select::{self, Candidate, by_token, by_value, count_to_mass};
use super::softmax;
use crate::request::TokenId;

pub(super) struct Cuts {
    pub(super) temperature: f32,
    pub(super) top_k: usize,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    /// The largest logit; its weight is 1.
    pub(super) largest: f32,
}

/// The token at `uniform` (0 to 1) of the distribution that the cuts leave.
pub(super) fn draw(logits: &[f32], cuts: &Cuts, uniform: f64, scratch: &mut Scratch) -> TokenId {
    let scale = 1.0 / cuts.temperature;
    if cuts.top_k < logits.len() {
        let candidates = &mut scratch.candidates;
        select::top_k(scratch.isa, logits, cuts.top_k, candidates);
        for candidate in candidates.iter_mut() {
            candidate.value = softmax::exp((candidate.value - cuts.largest) * scale);
        }
        return draw_from_few(candidates, cuts, uniform);
    }
    let Scratch { isa, candidates, weights, buckets, .. } = scratch;
    weights.fill(*isa, logits, cuts.largest, scale);
    if cuts.top_p < 1.0 {
        let mass = f64::from(cuts.top_p) * weights.total();
        let last = buckets.last_in_mass(*isa, weights, mass, candidates);
        weights.keep_up_to(*isa, last);
    }
    if cuts.min_p > 0.0 {
        weights.keep_at_least(*isa, cuts.min_p);
    }
    weights.find(uniform * weights.total()) as TokenId
}

fn draw_from_few(candidates: &mut Vec<Candidate>, cuts: &Cuts, uniform: f64) -> TokenId {
    if cuts.top_p < 1.0 {
        let mass = f64::from(cuts.top_p) * select::sum(candidates);
        let kept = count_to_mass(candidates, mass, by_value);
        candidates.truncate(kept);
    }
    candidates.retain(|candidate| candidate.value >= cuts.min_p && candidate.value > 0.0);
    let mass = uniform * select::sum(candidates);
    let end = count_to_mass(candidates, mass, by_token);
    candidates[end - 1].token
}
