//! One sampler a sequence: its settings, its random numbers, and the order of the steps.

use std::sync::Arc;

use ostro_kernels::cpu::isa::Isa;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::buckets::Buckets;
use super::draw::{self, Cuts};
use super::dry::{self, DryScratch};
use super::history::History;
use super::logprobs;
use super::penalties::Penalties;
use super::select::{self, Candidate};
use super::token_mask::TokenMask;
use super::weights::Weights;
use crate::request::{Sampling, Token, TokenId};

/// Below this the largest logit is taken: its quotients would overflow.
const TEMPERATURE_MIN: f32 = 1e-7;
const LOGPROBS_MAX: u8 = 20;

#[derive(Clone, Debug)]
pub struct SamplerOptions {
    pub sampling: Sampling,
    /// `sampling.seed`, or one that the caller has drawn.
    pub seed: u64,
    pub vocab_size: usize,
    /// Not sampled before `min_tokens` tokens.
    pub end_tokens: Arc<[TokenId]>,
    pub min_tokens: u32,
    /// `Some(n)`: report log probabilities of the token and the `n` likeliest.
    pub logprobs: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplerError {
    #[error("{name} = {value} is not allowed: {allowed}")]
    OutOfRange { name: &'static str, value: f32, allowed: &'static str },
    #[error("logit_bias names token {token}, the vocabulary has {vocab_size}")]
    UnknownToken { token: TokenId, vocab_size: usize },
    #[error("{logprobs} log probabilities a token are too many, at most {LOGPROBS_MAX}")]
    TooManyLogprobs { logprobs: u8 },
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    #[error("the logits are not finite numbers")]
    NotFinite,
    #[error("no token is allowed next")]
    NothingAllowed,
    #[error("the model gave {found} logits, the vocabulary has {vocab_size}")]
    LogitsLength { found: usize, vocab_size: usize },
}

/// Buffers that samplers on one thread share.
#[derive(Debug)]
pub struct Scratch {
    /// Changes the speed, not the tokens.
    pub(super) isa: Isa,
    pub(super) candidates: Vec<Candidate>,
    pub(super) weights: Weights,
    pub(super) buckets: Buckets,
    pub(super) dry: DryScratch,
}

impl Scratch {
    pub fn new(isa: Isa) -> Self {
        Scratch {
            isa,
            candidates: Vec::new(),
            weights: Weights::default(),
            buckets: Buckets::default(),
            dry: DryScratch::default(),
        }
    }

    /// Empty, for another thread.
    pub fn another(&self) -> Self {
        Scratch::new(self.isa)
    }
}

/// What one token is sampled from.
pub struct SampleInput<'a> {
    /// Changed in place by penalties, bias and masks.
    pub logits: &'a mut [f32],
    pub history: History<'a>,
    pub allowed: Option<&'a TokenMask>,
}

#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    penalties: Penalties,
    random: ChaCha12Rng,
}

impl Sampler {
    pub fn new(options: SamplerOptions) -> Result<Self, SamplerError> {
        check(&options)?;
        Ok(Sampler {
            penalties: Penalties::new(&options.sampling),
            random: ChaCha12Rng::seed_from_u64(options.seed),
            options,
        })
    }

    /// Whether the token after `history` is that of the largest logit, whatever the others are, and whatever `allowed` is
    /// not given.
    pub fn takes_best(&self, history: History<'_>) -> bool {
        let Sampling { temperature, dry, logit_bias, .. } = &self.options.sampling;
        let too_early = history.generated().len() < self.options.min_tokens as usize;
        *temperature < TEMPERATURE_MIN
            && dry.is_none()
            && logit_bias.is_empty()
            && !self.penalties.apply_anything()
            && !too_early
            && self.options.logprobs.is_none()
    }

    /// The token that follows `input.history`. On an error nothing is drawn: the same history may be asked again.
    pub fn sample(&mut self, input: SampleInput<'_>, scratch: &mut Scratch) -> Result<Token, SampleError> {
        let SampleInput { logits, history, allowed } = input;
        let vocab_size = self.options.vocab_size;
        if logits.len() != vocab_size {
            return Err(SampleError::LogitsLength { found: logits.len(), vocab_size });
        }
        let mut largest = select::largest_finite(scratch.isa, logits).ok_or(SampleError::NotFinite)?;
        if self.adjust(logits, history, scratch) | self.mask(logits, history, allowed) {
            largest = select::largest(scratch.isa, logits);
        }
        if largest == f32::NEG_INFINITY {
            return Err(SampleError::NothingAllowed);
        }
        // Penalties and bias are finite, their sums need not be.
        if largest == f32::INFINITY {
            return Err(SampleError::NotFinite);
        }
        let id = match self.options.sampling.temperature < TEMPERATURE_MIN {
            true => select::first_of(scratch.isa, logits, largest),
            false => self.draw(logits, largest, scratch),
        };
        let read = |top| logprobs::read(logits, id, top, largest, scratch);
        Ok(Token { id, logprobs: self.options.logprobs.map(read) })
    }

    /// Penalties and bias; says whether a logit can have changed.
    fn adjust(&mut self, logits: &mut [f32], history: History<'_>, scratch: &mut Scratch) -> bool {
        let sampling = &self.options.sampling;
        if let Some(settings) = &sampling.dry {
            dry::apply(settings, logits, history, &mut scratch.dry);
        }
        let penalised = self.penalties.apply(logits, history);
        for (token, bias) in &sampling.logit_bias {
            logits[*token as usize] += bias;
        }
        penalised || sampling.dry.is_some() || !sampling.logit_bias.is_empty()
    }

    /// Makes tokens impossible; says whether there were any to mask.
    fn mask(&self, logits: &mut [f32], history: History<'_>, allowed: Option<&TokenMask>) -> bool {
        let too_early = history.generated().len() < self.options.min_tokens as usize;
        if too_early {
            for token in self.options.end_tokens.iter() {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        if let Some(allowed) = allowed {
            allowed.apply(logits);
        }
        too_early || allowed.is_some()
    }

    fn draw(&mut self, logits: &[f32], largest: f32, scratch: &mut Scratch) -> TokenId {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.options.sampling;
        let top_k = top_k.map_or(logits.len(), |k| k as usize);
        let cuts = Cuts { temperature, top_k, top_p, min_p, largest };
        let uniform = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        draw::draw(logits, &cuts, uniform, scratch)
    }
}

fn check(options: &SamplerOptions) -> Result<(), SamplerError> {
    let Sampling { temperature, top_k, top_p, min_p, .. } = options.sampling;
    let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = options.sampling;
    let range = |name, value: f32, fits: bool, allowed| match fits && value.is_finite() {
        true => Ok(()),
        false => Err(SamplerError::OutOfRange { name, value, allowed }),
    };
    range("temperature", temperature, temperature >= 0.0, "0 or more")?;
    range("top_k", top_k.unwrap_or(1) as f32, top_k != Some(0), "1 or more")?;
    range("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "more than 0, at most 1")?;
    range("min_p", min_p, (0.0..=1.0).contains(&min_p), "0 to 1")?;
    range("repetition_penalty", repetition_penalty, repetition_penalty > 0.0, "more than 0")?;
    range("presence_penalty", presence_penalty, true, "a finite number")?;
    range("frequency_penalty", frequency_penalty, true, "a finite number")?;
    if let Some(dry) = &options.sampling.dry {
        range("dry_multiplier", dry.multiplier, dry.multiplier >= 0.0, "0 or more")?;
        range("dry_base", dry.base, dry.base >= 0.0, "0 or more")?;
    }
    for &(token, bias) in &options.sampling.logit_bias {
        range("logit_bias", bias, true, "a finite number")?;
        if token as usize >= options.vocab_size {
            return Err(SamplerError::UnknownToken { token, vocab_size: options.vocab_size });
        }
    }
    match options.logprobs {
        Some(logprobs) if logprobs > LOGPROBS_MAX => Err(SamplerError::TooManyLogprobs { logprobs }),
        _ => Ok(()),
    }
}
