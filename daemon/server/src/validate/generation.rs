//! Bounds and meaning of the fields that chat and completion requests share.

use std::hash::{DefaultHasher, Hash, Hasher};

use ostro_engine::request::{Sampling, StopRules, TokenId};

use crate::error::ApiError;
use crate::openai::generation::GenerationFields;

/// A lower temperature is greedy: the division would overflow long before it changed an answer.
pub const GREEDY_BELOW: f64 = 1e-4;
const N_MAX: u64 = 128;
const STOP_BYTES_MAX: usize = 1024;
const SALT_BYTES_MAX: usize = 1024;
/// Their tokens are looked up where the request is answered.
const DRY_BREAKER_BYTES_MAX: usize = 64;
const TOP_K_MAX: i64 = 1 << 20;
/// The smallest number above 0.
const ABOVE_ZERO: f64 = f64::from_bits(1);

/// What a model's own files say when a request does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplingDefaults {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    /// Of requests that bring none; the operator's choice, not the files'.
    pub seed: Option<u64>,
}

impl SamplingDefaults {
    /// These, and where they say nothing, others.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        SamplingDefaults {
            temperature: self.temperature.or(other.temperature),
            top_p: self.top_p.or(other.top_p),
            top_k: self.top_k.or(other.top_k),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
            seed: self.seed.or(other.seed),
        }
    }
}

/// The checked form of [`GenerationFields`]; sampling still lacks the model's defaults.
#[derive(Clone, Debug)]
pub struct ValidGeneration {
    pub model: Option<String>,
    pub n: usize,
    pub stop: StopRules,
    pub stop_strings: Vec<String>,
    pub delivery: Delivery,
    pub cache_salt: u64,
    pub logprobs: Option<Logprobs>,
    fields: GenerationFields,
}

/// The log probabilities that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logprobs {
    /// Of this many likeliest tokens beside the one that was drawn.
    pub top: u8,
    /// The field that asks.
    pub param: &'static str,
}

/// How the answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub stream: bool,
    pub include_usage: bool,
    /// In every event; never without `include_usage`.
    pub continuous_usage: bool,
    pub return_token_ids: bool,
}

/// Checks the shared fields.
///
/// # Errors
/// A value out of its bounds; the error names the field.
pub(super) fn generation(fields: GenerationFields) -> Result<ValidGeneration, ApiError> {
    check_sampling(&fields)?;
    let stream = fields.stream.unwrap_or(false);
    if fields.stream_options.is_some() && !stream {
        return Err(ApiError::invalid("stream_options", "stream_options needs stream = true"));
    }
    let options = fields.stream_options.unwrap_or_default();
    let include_usage = options.include_usage.unwrap_or(false);
    let continuous_usage = include_usage && options.continuous_usage_stats.unwrap_or(false);
    let return_token_ids = fields.return_token_ids.unwrap_or(false);
    Ok(ValidGeneration {
        model: fields.model.clone(),
        n: n(&fields)?,
        stop: stop_rules(&fields)?,
        stop_strings: stop_strings(&fields)?,
        delivery: Delivery { stream, include_usage, continuous_usage, return_token_ids },
        cache_salt: cache_salt(&fields)?,
        logprobs: None,
        fields,
    })
}

impl ValidGeneration {
    /// How tokens are chosen for choice `index` of a prompt, under the model's defaults.
    ///
    /// DRY is not here: its breakers are texts that only the model's tokeniser can read.
    pub fn sampling(&self, index: usize, defaults: &SamplingDefaults) -> Sampling {
        let fields = &self.fields;
        let or = |given: Option<f64>, model: Option<f32>, neutral: f32| {
            given.map(|value| value as f32).or(model).unwrap_or(neutral)
        };
        let temperature = or(fields.temperature, defaults.temperature, 1.0);
        let top_k = match fields.top_k {
            Some(k) => u32::try_from(k).ok().filter(|&k| k > 0),
            None => defaults.top_k.filter(|&k| k > 0),
        };
        Sampling {
            temperature: if f64::from(temperature) < GREEDY_BELOW { 0.0 } else { temperature },
            top_k,
            // A value too small for f32 still keeps the likeliest token.
            top_p: or(fields.top_p, defaults.top_p, 1.0).max(f32::MIN_POSITIVE),
            min_p: or(fields.min_p, defaults.min_p, 0.0),
            repetition_penalty: or(fields.repetition_penalty, defaults.repetition_penalty, 1.0),
            presence_penalty: fields.presence_penalty.unwrap_or(0.0) as f32,
            frequency_penalty: fields.frequency_penalty.unwrap_or(0.0) as f32,
            dry: None,
            logit_bias: self.logit_bias().collect(),
            // Choices of one prompt differ, and the first is the one that n = 1 gives.
            seed: fields
                .seed
                .map(|seed| seed as u64)
                .or(defaults.seed)
                .map(|seed| seed.wrapping_add(index as u64)),
        }
    }

    pub fn logit_bias(&self) -> impl Iterator<Item = (TokenId, f32)> + '_ {
        self.fields
            .logit_bias
            .iter()
            .flat_map(|bias| bias.0.iter().map(|&(token, bias)| (token, bias as f32)))
    }

    /// The DRY penalty without its breakers, when it is on.
    pub fn dry(&self) -> Option<DryFields<'_>> {
        let multiplier = self.fields.dry_multiplier.filter(|&multiplier| multiplier > 0.0)?;
        Some(DryFields {
            multiplier: multiplier as f32,
            base: self.fields.dry_base.unwrap_or(1.75) as f32,
            allowed_length: self.fields.dry_allowed_length.unwrap_or(2),
            breakers: self.fields.dry_sequence_breakers.as_ref().map(|list| list.0.as_slice()),
        })
    }
}

pub struct DryFields<'a> {
    pub multiplier: f32,
    pub base: f32,
    pub allowed_length: u32,
    /// `None`: the usual ones.
    pub breakers: Option<&'a [String]>,
}

fn check_sampling(fields: &GenerationFields) -> Result<(), ApiError> {
    within("temperature", fields.temperature, 0.0..=2.0)?;
    within("top_p", fields.top_p, ABOVE_ZERO..=1.0)?;
    within("min_p", fields.min_p, 0.0..=1.0)?;
    within("repetition_penalty", fields.repetition_penalty, 0.01..=10.0)?;
    within("presence_penalty", fields.presence_penalty, -2.0..=2.0)?;
    within("frequency_penalty", fields.frequency_penalty, -2.0..=2.0)?;
    within("dry_multiplier", fields.dry_multiplier, 0.0..=100.0)?;
    within("dry_base", fields.dry_base, 1.0..=8.0)?;
    within("dry_allowed_length", fields.dry_allowed_length.map(f64::from), 0.0..=65_536.0)?;
    if let Some(top_k) = fields.top_k.filter(|k| !(-1..=TOP_K_MAX).contains(k)) {
        return Err(ApiError::invalid("top_k", format!("top_k = {top_k} is not -1 or in 0..={TOP_K_MAX}")));
    }
    for breaker in fields.dry_sequence_breakers.iter().flat_map(|breakers| &breakers.0) {
        if breaker.len() > DRY_BREAKER_BYTES_MAX {
            let message =
                format!("a breaker of {} bytes is longer than {DRY_BREAKER_BYTES_MAX}", breaker.len());
            return Err(ApiError::invalid("dry_sequence_breakers", message));
        }
    }
    for (token, bias) in fields.logit_bias.iter().flat_map(|bias| &bias.0) {
        within("logit_bias", Some(*bias), -100.0..=100.0).map_err(|_| {
            let message = format!("bias {} of token {token} is not in -100..=100", shown(*bias));
            ApiError::invalid("logit_bias", message)
        })?;
    }
    Ok(())
}

fn within(
    name: &'static str,
    value: Option<f64>,
    range: std::ops::RangeInclusive<f64>,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !range.contains(&value) => {
            let (low, high) = (range.start(), range.end());
            let range = if *low == ABOVE_ZERO {
                format!("above 0 and at most {high}")
            } else {
                format!("in {low}..={high}")
            };
            Err(ApiError::invalid(name, format!("{name} = {} is not {range}", shown(value))))
        }
        _ => Ok(()),
    }
}

/// Digits alone would be hundreds for the smallest and largest numbers.
fn shown(value: f64) -> String {
    let plain = value == 0.0 || (1e-6..1e15).contains(&value.abs());
    if plain { value.to_string() } else { format!("{value:e}") }
}

fn n(fields: &GenerationFields) -> Result<usize, ApiError> {
    let n = fields.n.unwrap_or(1);
    if !(1..=N_MAX).contains(&n) {
        return Err(ApiError::invalid("n", format!("n = {n} is not in 1..={N_MAX}")));
    }
    Ok(n as usize)
}

fn stop_rules(fields: &GenerationFields) -> Result<StopRules, ApiError> {
    let (name, max) = match (fields.max_tokens, fields.max_completion_tokens) {
        (Some(old), Some(new)) if old != new => {
            let message =
                format!("max_tokens = {old} and max_completion_tokens = {new} contradict each other");
            return Err(ApiError::invalid("max_tokens", message));
        }
        (_, Some(max)) => ("max_completion_tokens", Some(max)),
        (max, None) => ("max_tokens", max),
    };
    // The engine lowers it to what the context holds.
    let max_tokens = match max {
        None => u32::MAX,
        Some(0) => return Err(ApiError::invalid(name, format!("{name} must be at least 1"))),
        Some(max) => u32::try_from(max)
            .map_err(|_| ApiError::invalid(name, format!("{name} = {max} is not in 1..={}", u32::MAX)))?,
    };
    let min_tokens = fields.min_tokens.unwrap_or(0);
    if min_tokens > u64::from(max_tokens) {
        let message = format!("min_tokens = {min_tokens} is above {name} = {max_tokens}");
        return Err(ApiError::invalid("min_tokens", message));
    }
    Ok(StopRules {
        max_tokens,
        min_tokens: min_tokens as u32,
        token_ids: fields.stop_token_ids.as_ref().map(|list| list.0.clone()).unwrap_or_default(),
        ignore_eos: fields.ignore_eos.unwrap_or(false),
    })
}

fn stop_strings(fields: &GenerationFields) -> Result<Vec<String>, ApiError> {
    let strings = fields.stop.as_ref().map(|stop| stop.0.as_slice()).unwrap_or_default();
    for string in strings {
        if string.is_empty() {
            return Err(ApiError::invalid("stop", "a stop string must not be empty"));
        }
        if string.len() > STOP_BYTES_MAX {
            let message = format!("a stop string of {} bytes is longer than {STOP_BYTES_MAX}", string.len());
            return Err(ApiError::invalid("stop", message));
        }
    }
    Ok(strings.to_vec())
}

fn cache_salt(fields: &GenerationFields) -> Result<u64, ApiError> {
    match &fields.cache_salt {
        None => Ok(0),
        Some(salt) if salt.len() > SALT_BYTES_MAX => {
            Err(ApiError::invalid("cache_salt", format!("cache_salt is longer than {SALT_BYTES_MAX} bytes")))
        }
        Some(salt) => {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            Ok(hasher.finish())
        }
    }
}
