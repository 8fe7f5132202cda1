//! Frequency, presence and repetition penalties, over counts that grow with the sequence.

use std::collections::HashMap;

use super::history::History;
use crate::request::{Sampling, TokenId};

#[derive(Debug)]
pub(super) struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    /// How often a token occurs in the answer, 0 for tokens of the prompt only.
    counts: Vec<(TokenId, u32)>,
    places: HashMap<TokenId, usize>,
    /// Tokens of the history that are counted.
    counted: usize,
}

impl Penalties {
    pub(super) fn new(sampling: &Sampling) -> Self {
        Penalties {
            repetition: sampling.repetition_penalty,
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
            counts: Vec::new(),
            places: HashMap::new(),
            counted: 0,
        }
    }

    pub(super) fn apply_anything(&self) -> bool {
        self.repetition != 1.0 || self.presence != 0.0 || self.frequency != 0.0
    }

    /// Says whether there was anything to apply.
    pub(super) fn apply(&mut self, logits: &mut [f32], history: History<'_>) -> bool {
        if !self.apply_anything() {
            return false;
        }
        self.count(history);
        for &(token, count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            if count > 0 {
                *logit -= self.frequency * count as f32 + self.presence;
            }
            *logit = match *logit > 0.0 {
                true => *logit / self.repetition,
                false => *logit * self.repetition,
            };
        }
        true
    }

    fn count(&mut self, history: History<'_>) {
        let prompt_len = history.prompt().len();
        for (position, &token) in history.tokens().iter().enumerate().skip(self.counted) {
            let place = *self.places.entry(token).or_insert(self.counts.len());
            if place == self.counts.len() {
                self.counts.push((token, 0));
            }
            self.counts[place].1 += u32::from(position >= prompt_len);
        }
        self.counted = history.tokens().len();
    }
}
