//! Long random runs with a fake model, checked after every call.
//!
//! The fake model writes into each cache slot a digest of the salt and the tokens up to there, checks that every row
//! finds exactly its own prefix, and samples a token that depends on that digest and the last token alone. So an answer
//! that depended on the batch, a chunk, a prefix hit, a preemption or a draft would differ from the one computed ahead.

use std::collections::BTreeMap;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::request::{FinishReason, TokenId};

const END: TokenId = 7;
const VOCAB: u64 = 60;

struct Random(ChaCha12Rng);

impl Random {
    /// A number in `range`, both ends included.
    fn between(&mut self, least: u32, most: u32) -> u32 {
        least + (self.0.next_u64() % u64::from(most - least + 1)) as u32
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.between(1, n) == 1
    }
}

fn digest(before: u64, token: TokenId) -> u64 {
    let mut value = before ^ (u64::from(token) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Mostly a walk in a circle, which drafts guess.
fn sampled_after(digest: u64, token: TokenId) -> TokenId {
    match digest % 8 {
        0 => (digest / 8 % VOCAB) as TokenId,
        _ => 10 + (token + 1) % 5,
    }
}

fn common(prompt: &[TokenId], opening: &[TokenId]) -> usize {
    prompt.iter().zip(opening).take_while(|(token, opening)| token == opening).count()
}

/// What one sequence must look like when it ends.
struct Expected {
    prompt_len: usize,
    len_max: usize,
    tokens: Vec<TokenId>,
    /// `digests[p]` covers the salt and `tokens[..=p]`, with what they are if that makes a difference.
    digests: Vec<u64>,
    /// Tokens sampled so far.
    sampled: usize,
    admitted: bool,
}

impl Expected {
    /// What is in the cache does not depend on the salt, but only the start that begins as `opening` may be found by others.
    fn new(prompt: &[TokenId], salt: u64, len_max: usize, options: &SchedulerOptions) -> Self {
        let SchedulerOptions { opening, sources_apart, .. } = options;
        let sources_apart = *sources_apart;
        let common = common(prompt, opening);
        let mut state = 99;
        let mut digests = Vec::new();
        let mut tokens = prompt.to_vec();
        for position in 0..len_max {
            if position == common {
                state = digest(state, salt as TokenId);
            }
            if position == tokens.len() {
                tokens.push(sampled_after(state, tokens[position - 1]));
            }
            let is_apart = sources_apart && position >= prompt.len();
            state = digest(state, tokens[position] + if is_apart { 1000 } else { 0 });
            digests.push(state);
            if position >= prompt.len() && tokens[position] == END {
                break;
            }
        }
        Expected { prompt_len: prompt.len(), len_max, tokens, digests, sampled: 0, admitted: false }
    }
}

struct Simulation {
    random: Random,
    options: SchedulerOptions,
    scheduler: Scheduler,
    plan: StepPlan,
    outcomes: Vec<Outcome>,
    /// By block and offset, the digest written last.
    slots: Vec<u64>,
    alive: BTreeMap<SequenceId, Expected>,
    texts: Vec<Vec<TokenId>>,
    /// Steps in a row in which the oldest sequence waited.
    oldest_waits: usize,
    ended: usize,
    hits: usize,
    opening_hits: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(ChaCha12Rng::seed_from_u64(seed));
        let options = SchedulerOptions {
            block_size: [1, 2, 4, 8, 16][random.between(0, 4) as usize],
            blocks: random.between(1, 40),
            context_len: random.between(2, 160),
            max_seqs: random.between(1, 10) as usize,
            tokens_per_step: random.between(1, 40) as usize,
            prompt_tokens_beside_decode: random.between(1, 40) as usize,
            draft_tokens: random.between(0, 9) as usize,
            waiting_max: random.between(1, 30) as usize,
            prefix_cache_n: random.between(0, 5) as usize,
            sources_apart: random.one_in(2),
            opening: Vec::new(),
        };
        let text = |random: &mut Random| (0..160).map(|_| random.between(10, 40)).collect();
        let texts: Vec<Vec<TokenId>> = (0..3).map(|_| text(&mut random)).collect();
        let opening = texts[0][..random.between(0, 30) as usize].to_vec();
        let options = SchedulerOptions { opening, ..options };
        Simulation {
            scheduler: Scheduler::new(options.clone()).unwrap(),
            plan: StepPlan::default(),
            outcomes: Vec::new(),
            // One block more, for the opening.
            slots: vec![0; ((options.blocks + 1) * options.block_size) as usize],
            alive: BTreeMap::new(),
            texts,
            oldest_waits: 0,
            ended: 0,
            hits: 0,
            opening_hits: 0,
            random,
            options,
        }
    }

    fn submit(&mut self) {
        let shared = self.random.between(0, 60) as usize;
        let mut prompt = match self.alive.values().next() {
            // A conversation goes on: what was generated is a prompt now.
            Some(sequence) if self.random.one_in(3) => {
                sequence.tokens[..shared.min(sequence.tokens.len())].to_vec()
            }
            _ => self.texts[self.random.between(0, 2) as usize][..shared].to_vec(),
        };
        (0..self.random.between(0, 6)).for_each(|_| prompt.push(self.random.between(10, 40)));
        // No text has this one: where the salt begins to matter is in the prompt.
        if !prompt.is_empty() && common(&prompt, &self.options.opening) == prompt.len() {
            prompt.push(41);
        }
        let (max_tokens, cache_salt) = (self.random.between(0, 50), self.random.between(0, 1).into());
        let new =
            NewSequence { prompt: prompt.clone().into(), max_tokens, end_tokens: [END].into(), cache_salt };
        let pool_tokens = (self.options.blocks * self.options.block_size) as usize;
        let len_max = (self.options.context_len as usize).min(pool_tokens + 1);
        let fits = !prompt.is_empty() && prompt.len() < len_max && max_tokens > 0;
        let room = self.scheduler.stats().waiting < self.options.waiting_max;
        match self.scheduler.submit(new) {
            Ok(id) => {
                assert!(fits && room);
                let len_max = len_max.min(prompt.len() + max_tokens as usize);
                self.alive.insert(id, Expected::new(&prompt, cache_salt, len_max, &self.options));
            }
            Err(SubmitError::QueueFull { .. }) => assert!(fits && !room),
            Err(_) => assert!(!fits),
        }
    }

    fn cancel(&mut self) {
        let count = self.alive.len() as u32;
        if count > 0 {
            let index = self.random.between(0, count - 1) as usize;
            let id = *self.alive.keys().nth(index).unwrap();
            assert!(self.scheduler.cancel(id));
            assert!(!self.scheduler.cancel(id), "a cancelled sequence is forgotten");
            self.alive.remove(&id);
            self.scheduler.assert_consistent();
        }
    }

    fn step(&mut self) {
        self.scheduler.plan(&mut self.plan);
        self.scheduler.assert_consistent();
        assert_eq!(
            self.plan.is_empty(),
            self.alive.is_empty(),
            "a step computes something while anyone is there"
        );
        self.check_plan();
        self.check_oldest_advances();
        let sampled = self.compute();
        if self.random.one_in(30) {
            self.cancel();
        }
        self.scheduler.advance(&self.plan, &sampled, &mut self.outcomes);
        self.scheduler.assert_consistent();
        self.check_outcomes();
    }

    fn check_plan(&mut self) {
        let plan = &self.plan;
        assert!(plan.rows().len() <= self.options.tokens_per_step);
        assert!(plan.sequences().len() <= self.options.max_seqs);
        for id in plan.preempted() {
            assert!(plan.sequences().iter().all(|sequence| sequence.id != *id));
        }
        let mut samples = plan.samples().iter();
        for (index, planned) in plan.sequences().iter().enumerate() {
            let expected = self.alive.get_mut(&planned.id).expect("only living sequences are planned");
            let known = expected.prompt_len + expected.sampled;
            if !expected.admitted {
                expected.admitted = true;
                self.hits += usize::from(planned.cached_tokens > 0);
                assert!((planned.cached_tokens as usize) < expected.prompt_len);
                let of_blocks = planned.cached_tokens.is_multiple_of(self.options.block_size);
                assert!(of_blocks || planned.cached_tokens as usize <= self.options.opening.len());
                self.opening_hits += usize::from(!of_blocks);
            }
            let rows = &plan.rows()[planned.rows.clone()];
            let first = rows[0].position;
            for (position, row) in (first..).zip(rows) {
                assert_eq!((row.sequence, row.position), (index as u32, position));
                if (position as usize) < known {
                    assert_eq!(row.token, expected.tokens[position as usize]);
                }
                let prompt = (position as usize) < expected.prompt_len;
                assert_eq!(row.source == TokenSource::Prompt, prompt);
            }
            let end = first as usize + rows.len();
            assert!(end < known + 10 && end < expected.len_max.max(known + 1));
            assert_eq!(planned.samples, (end + 1).saturating_sub(known));
            for (drafts, row) in (0..).zip(planned.rows.end - planned.samples..planned.rows.end) {
                let sample = Sample { row: row as u32, sequence: planned.id, drafts };
                assert_eq!(samples.next(), Some(&sample));
            }
        }
        assert_eq!(samples.next(), None);
    }

    /// The oldest running sequence has rows in every step; the oldest of all runs before long.
    fn check_oldest_advances(&mut self) {
        let [running, waiting] = self.scheduler.oldest();
        assert_eq!(self.plan.sequences().first().map(|sequence| sequence.id), running);
        self.oldest_waits = match (running, waiting) {
            (Some(running), Some(waiting)) if waiting < running => self.oldest_waits + 1,
            _ => 0,
        };
        let tokens_max = self.options.max_seqs * self.scheduler.sequence_tokens_max();
        assert!(self.oldest_waits <= tokens_max, "the oldest sequence starves");
    }

    fn slot(&self, sequence: usize, position: usize) -> usize {
        let block_size = self.options.block_size as usize;
        let block = self.plan.block_table(sequence)[position / block_size] as usize;
        block * block_size + position % block_size
    }

    fn compute(&mut self) -> Vec<Option<TokenId>> {
        let block_size = self.options.block_size as usize;
        for BlockCopy { from, to } in self.plan.copies() {
            let from = *from as usize * block_size;
            self.slots.copy_within(from..from + block_size, *to as usize * block_size);
        }
        for index in 0..self.plan.rows().len() {
            self.write_slot(index);
        }
        for (index, planned) in self.plan.sequences().iter().enumerate() {
            let known = planned.rows.end - planned.samples.saturating_sub(1);
            let last = self.plan.rows()[known - 1].position as usize;
            let digests = &self.alive[&planned.id].digests;
            for (position, digest) in digests[..=last].iter().enumerate() {
                assert_eq!(self.slots[self.slot(index, position)], *digest, "a row sees its own prefix");
            }
        }
        let mut sampled: Vec<Option<TokenId>> = Vec::new();
        for sample in self.plan.samples() {
            let row = self.plan.rows()[sample.row as usize];
            let slot = self.slot(row.sequence as usize, row.position as usize);
            let token = sampled_after(self.slots[slot], row.token);
            let before = sampled.last().copied().flatten();
            sampled.push(self.plan.is_wanted(sampled.len(), before).then_some(token));
        }
        sampled
    }

    /// A draft's digest follows from the one before, wrong as it may be.
    fn write_slot(&mut self, index: usize) {
        let row = self.plan.rows()[index];
        let (sequence, position) = (row.sequence as usize, row.position as usize);
        let planned = &self.plan.sequences()[sequence];
        let expected = &self.alive[&planned.id];
        let digest = match index + planned.samples.saturating_sub(1) >= planned.rows.end {
            true => {
                let before = self.slots[self.slot(sequence, position - 1)];
                digest(before, row.token + if self.options.sources_apart { 1000 } else { 0 })
            }
            false => expected.digests[position],
        };
        let slot = self.slot(sequence, position);
        self.slots[slot] = digest;
    }

    fn check_outcomes(&mut self) {
        for outcome in &self.outcomes {
            let expected = self.alive.get_mut(&outcome.sequence).expect("only living sequences advance");
            let position = expected.prompt_len + expected.sampled;
            assert_eq!(outcome.token, expected.tokens[position]);
            expected.sampled += 1;
            let is_last = position + 1 == expected.tokens.len();
            assert_eq!(outcome.finish.is_some(), is_last, "a sequence ends with its last token, not before");
            let Some(finish) = outcome.finish else {
                continue;
            };
            assert_eq!(finish.completion_tokens as usize, expected.sampled);
            assert_eq!(finish.prompt_tokens as usize, expected.prompt_len);
            let stopped = outcome.token == END;
            let reason = if stopped { FinishReason::Stop(END) } else { FinishReason::Length };
            assert_eq!(finish.reason, reason);
            self.ended += 1;
            self.alive.remove(&outcome.sequence);
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            while self.random.one_in(3) {
                self.submit();
            }
            if self.random.one_in(40) {
                self.cancel();
            }
            self.step();
        }
        while !self.alive.is_empty() {
            self.step();
        }
        assert!(self.scheduler.is_idle());
        let stats = self.scheduler.stats();
        assert_eq!((stats.running, stats.waiting, stats.blocks_used), (0, 0, 0));
    }
}

#[test]
fn random_runs_keep_every_promise() {
    let (mut ended, mut hits, mut opening_hits, mut preemptions) = (0, 0, 0, 0);
    let (mut drafted, mut accepted) = (0, 0);
    for seed in 0..300 {
        let mut simulation = Simulation::new(seed);
        simulation.run(2000);
        ended += simulation.ended;
        hits += simulation.hits;
        opening_hits += simulation.opening_hits;
        let stats = simulation.scheduler.stats();
        preemptions += stats.preemptions_total;
        drafted += stats.draft_tokens_total;
        accepted += stats.accepted_tokens_total;
    }
    // The runs are not trivial.
    assert!(ended > 40_000 && hits > 10_000 && preemptions > 5_000, "{ended} {hits} {preemptions}");
    assert!(opening_hits > 2_000, "{opening_hits}");
    assert!(accepted > 10_000 && drafted > accepted + 10_000, "{drafted} {accepted}");
}
