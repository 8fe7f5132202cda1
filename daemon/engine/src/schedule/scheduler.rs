//! Continuous batching over a fixed pool of KV blocks.
//!
//! A step mixes one row of every decoding sequence with chunks of prompts (`chunks`), or with drafts (`drafts`).
//! Sequences are admitted in order of arrival, as soon as their first chunk has blocks beside what running ones still
//! need. When blocks run out, an older sequence takes those of the newest, which waits again and is computed anew with
//! the tokens it has; the newest itself only pauses. So the oldest sequence always advances, and whatever was accepted
//! ends.

mod drafts;
#[cfg(test)]
mod invariants;

use std::collections::VecDeque;

use super::block_hash::BlockHash;
use super::chunks::Budget;
use super::kv_blocks::{KvBlocks, PrefixHit};
use super::opening;
use super::options::{OptionsError, SchedulerOptions, SchedulerStats};
use super::sequence::{NewSequence, Outcome, Sequence, SequenceId, SubmitError};
use super::step_plan::{BlockCopy, StepPlan};
use crate::request::TokenId;
use crate::sample::History;

#[derive(Debug)]
pub struct Scheduler {
    options: SchedulerOptions,
    budget: Budget,
    running_max: usize,
    /// Tokens of the longest sequence that context and pool hold; the last is never computed.
    len_max: usize,
    kv: KvBlocks,
    /// Both oldest first.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    submitted: u64,
    totals: SchedulerStats,
}

impl Scheduler {
    pub fn new(options: SchedulerOptions) -> Result<Self, OptionsError> {
        options.check()?;
        let pool_tokens = options.blocks as usize * options.block_size as usize;
        Ok(Scheduler {
            budget: Budget {
                tokens_per_step: options.tokens_per_step,
                prompt_tokens_beside_decode: options.prompt_tokens_beside_decode,
            },
            running_max: options.max_seqs.min(options.tokens_per_step),
            len_max: (options.context_len as usize).min(pool_tokens + 1),
            kv: KvBlocks::new(&options),
            running: Vec::new(),
            waiting: VecDeque::new(),
            submitted: 0,
            totals: SchedulerStats::default(),
            options,
        })
    }

    /// Queues a sequence, or says why it can never run.
    pub fn submit(&mut self, new: NewSequence) -> Result<SequenceId, SubmitError> {
        self.check_fits(&new)?;
        if self.waiting.len() >= self.options.waiting_max {
            return Err(SubmitError::QueueFull { waiting: self.waiting.len() });
        }
        let id = SequenceId(self.submitted);
        self.submitted += 1;
        self.waiting.push_back(Sequence::new(id, new, self.len_max, self.options.sources_apart));
        Ok(id)
    }

    /// Forgets a sequence and frees its blocks; false when it is not known (any more).
    /// Between `plan` and `advance` its rows may still be computed: they go to blocks that nobody reads.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        let waiting = || self.waiting.binary_search_by_key(&id, |sequence| sequence.id);
        let sequence = match self.find_running(id) {
            Some(index) => Some(self.running.remove(index)),
            None => waiting().ok().and_then(|index| self.waiting.remove(index)),
        };
        let found = sequence.is_some();
        if let Some(sequence) = sequence {
            self.kv.end(sequence);
        }
        found
    }

    /// Decides the next step. The plan is empty only when no sequence is known.
    pub fn plan(&mut self, plan: &mut StepPlan) {
        plan.clear();
        self.admit();
        self.budget.divide(&mut self.running);
        self.draft();
        self.provide_blocks(plan);
        self.write(plan);
    }

    /// Books a computed step: `sampled` holds a token for each of `plan.samples()`, or `None` where it was not wanted.
    /// Sequences cancelled since `plan` are passed over. Writes to `outcomes` what became of the others that sampled,
    /// a sequence's tokens in order.
    pub fn advance(&mut self, plan: &StepPlan, sampled: &[Option<TokenId>], outcomes: &mut Vec<Outcome>) {
        assert_eq!(sampled.len(), plan.samples().len(), "what became of each wanted row");
        outcomes.clear();
        self.kv.opening_mut().note_step();
        let mut rest = sampled;
        for planned in plan.sequences() {
            let samples;
            (samples, rest) = rest.split_at(planned.samples);
            let Some(index) = self.find_running(planned.id) else {
                continue;
            };
            let sequence = &mut self.running[index];
            let first = plan.rows()[planned.rows.start].position as usize;
            assert_eq!(sequence.computed, first, "a plan is booked once");
            let before = outcomes.len();
            sequence.forget_draft();
            outcomes.extend(samples.iter().map_while(|token| *token).map(|token| {
                let finish = sequence.push(token);
                Outcome { sequence: planned.id, token, finish }
            }));
            let tokens = outcomes.len() - before;
            // Of the rows that sampled, the first was of a known token, others of drafts.
            sequence.computed += planned.rows.len() - samples.len() + tokens;
            self.kv.publish(sequence);
            self.kv.opening_mut().note_computed(sequence.prompt(), sequence.computed, &sequence.blocks);
            self.totals.draft_tokens_total += samples.len().saturating_sub(1) as u64;
            self.totals.accepted_tokens_total += tokens.saturating_sub(1) as u64;
            if outcomes[before..].iter().any(|outcome| outcome.finish.is_some()) {
                let sequence = self.running.remove(index);
                self.kv.end(sequence);
            }
        }
    }

    /// What the sampler of a running sequence may know: its tokens, and this many of its draft, which were right.
    pub fn history(&self, id: SequenceId, drafts: u32) -> Option<History<'_>> {
        let sequence = &self.running[self.find_running(id)?];
        let tokens = &sequence.tokens_and_draft()[..sequence.tokens().len() + drafts as usize];
        Some(History::new(tokens, sequence.prompt_len()))
    }

    /// Nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Most tokens of one sequence, prompt and answer: what context and pool hold. The pool's tokens and one more,
    /// since the last token of an answer is not computed again.
    pub fn sequence_tokens_max(&self) -> usize {
        self.len_max
    }

    pub fn stats(&self) -> SchedulerStats {
        let pool = self.kv.pool();
        SchedulerStats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            blocks: pool.blocks(),
            blocks_used: pool.blocks() - pool.free(),
            blocks_cached: pool.cached(),
            ..self.totals
        }
    }

    fn check_fits(&self, new: &NewSequence) -> Result<(), SubmitError> {
        let prompt_tokens = new.prompt.len();
        let SchedulerOptions { blocks, block_size, context_len, .. } = self.options;
        if prompt_tokens == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        if new.max_tokens == 0 {
            return Err(SubmitError::NoTokens);
        }
        if prompt_tokens >= context_len as usize {
            return Err(SubmitError::ContextExceeded { prompt_tokens, context_len });
        }
        let blocks_needed = self.kv.blocks_for(prompt_tokens);
        if blocks_needed > blocks as usize {
            return Err(SubmitError::CacheExceeded { prompt_tokens, blocks_needed, blocks, block_size });
        }
        Ok(())
    }

    fn find_running(&self, id: SequenceId) -> Option<usize> {
        self.running.binary_search_by_key(&id, |sequence| sequence.id).ok()
    }

    /// Starts waiting sequences in order of arrival, passing over those whose prefix is being computed right now.
    fn admit(&mut self) {
        let mut index = 0;
        // As many passed over as can run: a longer look ahead could not fill more places.
        while self.running.len() < self.running_max && index < self.waiting.len().min(self.running_max) {
            let hit = self.kv.look_up(&mut self.waiting[index]);
            if hit.next.is_some_and(|hash| self.is_being_computed(hash, hit.blocks)) {
                index += 1;
                continue;
            }
            if !self.has_blocks_for(&self.waiting[index], hit) {
                return;
            }
            let sequence = self.waiting.remove(index).expect("the index is below the length");
            self.start(sequence, hit);
        }
    }

    fn start(&mut self, mut sequence: Sequence, hit: PrefixHit) {
        sequence.reserve(self.kv.block_size());
        self.kv.acquire(&mut sequence, hit);
        if !sequence.was_admitted() {
            sequence.cached_tokens = Some(sequence.computed as u32);
            self.totals.prompt_tokens_total += sequence.prompt_len() as u64;
            self.totals.cached_tokens_total += sequence.computed as u64;
        }
        let place = self.running.partition_point(|other| other.id < sequence.id);
        self.running.insert(place, sequence);
    }

    /// Whether a running sequence will soon publish the block `index` of this name: computing it twice is a waste.
    /// Nobody waits for ever: running sequences reach the end of their known tokens, and a sequence with the same prefix
    /// that arrived later waits for the same block.
    fn is_being_computed(&mut self, hash: BlockHash, index: usize) -> bool {
        let block_size = self.kv.block_size();
        let end = (index + 1) * block_size;
        self.running.iter_mut().any(|sequence| {
            sequence.computed < end
                && end <= sequence.tokens().len()
                && index < sequence.shareable_blocks(block_size)
                && sequence.hash(index, block_size) == hash
        })
    }

    /// Whether a first chunk finds blocks beside those that running sequences need for the tokens they have and one each
    /// to go on. A sequence that was preempted asks for all it had, lest it be started only to lose its blocks again.
    fn has_blocks_for(&self, sequence: &Sequence, hit: PrefixHit) -> bool {
        let owed = |sequence: &Sequence| {
            (self.kv.blocks_for(sequence.tokens().len()) + 1).saturating_sub(sequence.blocks.len())
        };
        let reserved: usize = self.running.iter().map(owed).sum();
        let chunk = match sequence.was_admitted() {
            true => usize::MAX,
            false => self.budget.prompt_tokens(self.running.len().min(self.options.tokens_per_step - 1)),
        };
        let tokens = sequence.tokens().len().min(hit.tokens.saturating_add(chunk));
        let wanted = self.kv.blocks_for(tokens) - hit.blocks + hit.blocks_free;
        wanted + reserved <= self.kv.pool().free() as usize
    }

    /// Gives every sequence the blocks of its chunk, oldest first; shortens chunks and preempts where they run out.
    fn provide_blocks(&mut self, plan: &mut StepPlan) {
        let mut index = 0;
        while index < self.running.len() {
            let is_newest = index + 1 == self.running.len();
            let sequence = &mut self.running[index];
            if !self.kv.grow(sequence, sequence.computed + sequence.chunk) {
                let room = sequence.blocks.len() * self.kv.block_size() - sequence.computed;
                if room == 0 && !is_newest {
                    self.preempt_newest(plan);
                    continue;
                }
                sequence.shorten_chunk(room);
            }
            index += 1;
        }
    }

    fn preempt_newest(&mut self, plan: &mut StepPlan) {
        let mut sequence = self.running.pop().expect("the caller saw a newer sequence");
        sequence.forget_draft();
        self.kv.release(&mut sequence);
        self.totals.preemptions_total += 1;
        plan.push_preempted(sequence.id);
        let place = self.waiting.partition_point(|other| other.id < sequence.id);
        self.waiting.insert(place, sequence);
    }

    fn write(&mut self, plan: &mut StepPlan) {
        if !self.running.is_empty()
            && let Some(copy) = self.kv.opening_mut().copy()
        {
            plan.push_copy(copy);
        }
        for sequence in self.running.iter_mut().filter(|sequence| sequence.chunk > 0) {
            let end = sequence.computed + sequence.chunk;
            if std::mem::take(&mut sequence.takes_opening) {
                let block = sequence.blocks[sequence.computed / self.kv.block_size()];
                plan.push_copy(BlockCopy { from: opening::KEPT, to: block });
            }
            let blocks = &sequence.blocks[..self.kv.blocks_for(end)];
            plan.push_sequence(sequence.id, sequence.cached_tokens.unwrap_or(0), blocks);
            let known = sequence.tokens().len();
            for position in sequence.computed..end {
                let token = sequence.tokens_and_draft()[position];
                plan.push_row(position as u32, token, sequence.source(position));
                if let Some(drafts) = (position + 1).checked_sub(known) {
                    plan.push_sample(drafts);
                }
            }
        }
    }
}
