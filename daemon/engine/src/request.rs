//! What a caller asks of the engine and what it answers: plain data, token ids in and out.
//!
//! No text, no tensors, no HTTP here; the server fills these, the scheduler and sampler read them.

use std::sync::Arc;

/// Index into the model's vocabulary.
pub type TokenId = u32;

/// One sequence to generate.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Prompt tokens, at least one.
    pub prompt: Arc<[TokenId]>,
    pub sampling: Sampling,
    pub stop: StopRules,
    /// `Some(n)`: report the log probability of each token and of the `n` likeliest ones (0..=20).
    pub logprobs: Option<u8>,
    /// Callers with different salts never share cached prefixes (no timing channel between tenants).
    pub cache_salt: u64,
}

/// How the next token is chosen. The order in which the fields apply is documented in `sample`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 means greedy.
    pub temperature: f32,
    /// Keep the `k` likeliest tokens; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probability reaches `p`, 0 < p <= 1.
    pub top_p: f32,
    /// Drop tokens less likely than `min_p` times the likeliest, 0..1.
    pub min_p: f32,
    /// Divides (multiplies, when negative) the logits of tokens in prompt and answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from tokens already in the answer.
    pub presence_penalty: f32,
    /// Subtracted per occurrence in the answer.
    pub frequency_penalty: f32,
    pub dry: Option<Dry>,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same tokens whatever else runs. `None` draws one.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry: None,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

impl Sampling {
    pub fn greedy() -> Self {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }
}

/// "Don't repeat yourself": penalises a token that would extend a repetition of earlier text.
/// Source: the DRY sampler of text-generation-webui, pull request 5677.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    pub multiplier: f32,
    pub base: f32,
    /// Repetitions up to this many tokens are free.
    pub allowed_length: u32,
    /// Tokens that end the search for a repetition, sorted.
    pub breakers: Arc<[TokenId]>,
}

/// When a sequence ends, besides the model's own end tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopRules {
    /// At most this many tokens; the engine lowers it to what the context holds.
    pub max_tokens: u32,
    /// End tokens are not sampled before this many tokens; not more than the answer can have.
    pub min_tokens: u32,
    pub token_ids: Vec<TokenId>,
    /// Generate on past the model's end tokens.
    pub ignore_eos: bool,
}

/// What a `TokenStream` yields: any number of `Token`, then exactly one `Finished` or `Failed`.
#[derive(Clone, Debug)]
pub enum TokenEvent {
    Token(Token),
    Finished(Finished),
    Failed(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub id: TokenId,
    /// Present when the generation asked for it.
    pub logprobs: Option<TokenLogprobs>,
}

/// Natural logarithms, of the distribution after penalties and bias, before temperature and cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    pub logprob: f32,
    /// The likeliest tokens, best first.
    pub top: Vec<(TokenId, f32)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub reason: FinishReason,
    pub usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token of the model or of the request; it was the last `Token` event.
    Stop(TokenId),
    /// `max_tokens` or the context length is reached.
    Length,
}

/// Token counts and times of one finished sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub prompt_tokens: u32,
    /// Prompt tokens whose keys and values were found in the prefix cache.
    pub cached_tokens: u32,
    pub completion_tokens: u32,
    /// From submission to the first step that ran it.
    pub queue_seconds: f64,
    /// From the first step to the first token.
    pub prefill_seconds: f64,
    /// From the first token to the last.
    pub decode_seconds: f64,
}
