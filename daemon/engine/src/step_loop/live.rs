//! Sequences between their submission and their last event: sampler, reader, times.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::engine::Submission;
use crate::forward::{Best, ForwardError, Logits};
use crate::request::{Finished, Token, TokenEvent, TokenId, Usage};
use crate::sample::{History, SampleError, SampleInput, Scratch};
use crate::schedule::{Finish, Outcome, SequenceId, StepPlan};
use crate::stream::{Left, Start};

#[derive(Debug, Default)]
pub(super) struct LiveSequences {
    sequences: HashMap<SequenceId, LiveSequence>,
}

#[derive(Debug)]
pub(super) struct LiveSequence {
    submission: Box<Submission>,
    /// When the first step that ran it began.
    started: Option<Instant>,
    first_token: Option<Instant>,
    /// Sampled in this step, not yet delivered.
    tokens: VecDeque<Token>,
}

/// One row of a step's logits.
pub(super) struct RowLogits<'a, 'b> {
    pub(super) logits: &'a mut Logits<'b>,
    pub(super) row: usize,
}

impl LiveSequences {
    pub(super) fn insert(&mut self, id: SequenceId, submission: Box<Submission>) {
        let tokens = VecDeque::new();
        self.sequences.insert(id, LiveSequence { submission, started: None, first_token: None, tokens });
    }

    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Those that sample in a step, in the plan's order.
    pub(super) fn sampling(&mut self, plan: &StepPlan) -> Vec<&mut LiveSequence> {
        let sampling = plan.sequences().iter().filter(|planned| planned.samples > 0);
        let places: HashMap<_, _> = sampling.zip(0..).map(|(planned, place)| (planned.id, place)).collect();
        let place = |id| places.get(id).copied();
        let mut found: Vec<(usize, &mut LiveSequence)> =
            (self.sequences.iter_mut()).filter_map(|(id, sequence)| Some((place(id)?, sequence))).collect();
        assert_eq!(found.len(), places.len(), "a planned sequence is live");
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, sequence)| sequence).collect()
    }

    pub(super) fn takes_best(&self, id: SequenceId, history: History<'_>) -> bool {
        self.sequences.get(&id).is_some_and(|sequence| sequence.submission.sampler.takes_best(history))
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(SequenceId, &LiveSequence) -> bool) {
        self.sequences.retain(|id, sequence| keep(*id, sequence));
    }

    pub(super) fn note_started(&mut self, plan: &StepPlan, now: Instant) {
        for planned in plan.sequences() {
            if let Some(sequence) = self.sequences.get_mut(&planned.id) {
                let submission = &sequence.submission;
                sequence.started.get_or_insert_with(|| {
                    submission.sink.set_start(Start {
                        prompt_tokens: submission.prompt.len() as u32,
                        cached_tokens: planned.cached_tokens,
                        queued: now - submission.submitted,
                        at: now,
                    });
                    now
                });
            }
        }
    }

    /// Sends a sampled token, and the end when it was the last. Of a reader that left at an earlier one of the same
    /// step nobody is told again.
    pub(super) fn deliver(&mut self, outcome: &Outcome, now: Instant) -> Result<(), Left> {
        let Some(sequence) = self.sequences.get_mut(&outcome.sequence) else {
            return Ok(());
        };
        let token = sequence.tokens.pop_front().expect("a sequence that sampled has a token");
        sequence.first_token.get_or_insert(now);
        let sent = sequence.submission.sink.send(TokenEvent::Token(token));
        if outcome.finish.is_none() && sent.is_ok() {
            return Ok(());
        }
        let sequence = self.sequences.remove(&outcome.sequence).expect("it was live above");
        match outcome.finish {
            Some(finish) => sequence.finish(&finish, now),
            None => sent,
        }
    }

    /// Ends a sequence with a failure.
    pub(super) fn fail(&mut self, id: SequenceId, reason: &str) {
        if let Some(sequence) = self.sequences.remove(&id) {
            sequence.submission.refuse(reason);
        }
    }

    pub(super) fn fail_all(&mut self, reason: &str) {
        for (_, sequence) in self.sequences.drain() {
            sequence.submission.refuse(reason);
        }
    }
}

impl LiveSequence {
    /// Whether, and how, the reader has gone.
    pub(super) fn left(&self) -> Option<Left> {
        self.submission.sink.left()
    }

    /// # Errors
    /// Outside when the device fails, inside when this sequence's logits are of no use.
    pub(super) fn sample(
        &mut self,
        from: RowLogits<'_, '_>,
        history: History<'_>,
        scratch: &mut Scratch,
    ) -> Result<Result<TokenId, SampleError>, ForwardError> {
        let sampler = &mut self.submission.sampler;
        let sampled = match from.logits.best(from.row) {
            Best::NotFinite => Err(SampleError::NotFinite),
            Best::Token(id) if sampler.takes_best(history) => Ok(Token { id, logprobs: None }),
            Best::Token(_) | Best::Unknown => {
                let logits = from.logits.row_mut(from.row)?;
                sampler.sample(SampleInput { logits, history, allowed: None }, scratch)
            }
        };
        Ok(sampled.map(|token| {
            let id = token.id;
            self.tokens.push_back(token);
            id
        }))
    }

    fn finish(self, finish: &Finish, now: Instant) -> Result<(), Left> {
        let Submission { sink, place, submitted, .. } = *self.submission;
        let started = self.started.unwrap_or(submitted);
        let first_token = self.first_token.unwrap_or(now);
        let usage = Usage {
            prompt_tokens: finish.prompt_tokens,
            cached_tokens: finish.cached_tokens,
            completion_tokens: finish.completion_tokens,
            queue_seconds: (started - submitted).as_secs_f64(),
            prefill_seconds: (first_token - started).as_secs_f64(),
            decode_seconds: (now - first_token).as_secs_f64(),
        };
        // Whoever reads the end may submit the next at once.
        drop(place);
        sink.send(TokenEvent::Finished(Finished { reason: finish.reason, usage }))
    }
}
