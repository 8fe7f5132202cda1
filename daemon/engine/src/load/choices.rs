//! The options of a model, checked, and what of them suits the device.

use std::thread;

use crate::backend::StepTokens;
use crate::info::CacheInfo;
use crate::model::decoder::DecoderLimits;
use crate::model::spec::DecoderSpec;
use crate::options::{EngineOptions, ScheduleOptions};
use crate::request::TokenId;
use crate::schedule::SchedulerOptions;

/// More are surely a mistake.
const THREADS_MAX: usize = 1024;
const STEP_MAX: usize = 1 << 16;
const WAITING_MAX: usize = 1 << 20;
const DRAFT_MAX: usize = 64;

/// What is wrong with the options alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, allowed is {allowed}")]
pub struct OptionError {
    pub name: &'static str,
    pub value: u64,
    pub allowed: String,
}

/// The number of threads, once all else is allowed too.
pub(super) fn check(options: &EngineOptions) -> Result<usize, OptionError> {
    let refuse = |name, value: usize, allowed: &str| {
        Err(OptionError { name, value: value as u64, allowed: allowed.to_owned() })
    };
    let available = thread::available_parallelism().map_or(1, |threads| threads.get());
    let threads = options.threads.unwrap_or(available);
    if !(1..=THREADS_MAX).contains(&threads) {
        return refuse("threads", threads, &format!("1 to {THREADS_MAX}"));
    }
    let block_size = options.cache.block_size;
    if ![16, 32, 64].contains(&block_size) {
        return refuse("block_size", block_size as usize, "16, 32 or 64");
    }
    for (name, value) in [
        ("max_seqs", Some(options.schedule.sequences_max)),
        ("tokens_per_step", options.schedule.tokens_per_step),
        ("prompt_tokens_beside_decode", options.schedule.prompt_tokens_beside_decode),
    ] {
        let Some(value) = value else { continue };
        if !(1..=STEP_MAX).contains(&value) {
            return refuse(name, value, &format!("1 to {STEP_MAX}"));
        }
    }
    let draft_tokens = options.schedule.prompt_lookup_n.unwrap_or(0);
    if draft_tokens > DRAFT_MAX {
        return refuse("prompt_lookup_n", draft_tokens, &format!("at most {DRAFT_MAX}"));
    }
    if options.schedule.waiting_max > WAITING_MAX {
        return refuse("waiting_max", options.schedule.waiting_max, &format!("at most {WAITING_MAX}"));
    }
    Ok(threads)
}

pub(super) fn context_len(options: &EngineOptions, spec: &DecoderSpec) -> Result<u32, OptionError> {
    let trained = spec.context_length as u32;
    match options.context_len {
        None => Ok(trained),
        Some(chosen) if (2..=trained).contains(&chosen) => Ok(chosen),
        Some(chosen) => {
            let (value, allowed) = (chosen.into(), format!("2 to {trained}, what the model was trained for"));
            Err(OptionError { name: "context_len", value, allowed })
        }
    }
}

/// The rows of a step, as chosen or as suits the device.
pub(super) fn step_tokens(options: &ScheduleOptions, suits: StepTokens) -> Result<StepTokens, OptionError> {
    let all = options.tokens_per_step.unwrap_or(suits.all);
    let beside_decode = options.prompt_tokens_beside_decode.unwrap_or(suits.beside_decode);
    let draft = options.prompt_lookup_n.unwrap_or(suits.draft);
    if draft > 0 && suits.draft == 0 {
        let allowed = "0 on this device".to_owned();
        return Err(OptionError { name: "prompt_lookup_n", value: draft as u64, allowed });
    }
    Ok(StepTokens { all, beside_decode: beside_decode.min(all), draft })
}

pub(super) fn limits(options: &EngineOptions, step: StepTokens, context_len: u32) -> DecoderLimits {
    let rows = step.all;
    DecoderLimits {
        rows,
        sampled: options.schedule.sequences_max.max(1 + step.draft).min(rows),
        positions: context_len as usize,
        block_size: options.cache.block_size as usize,
    }
}

pub(super) fn schedule(
    options: &ScheduleOptions,
    step: StepTokens,
    cache: &CacheInfo,
    (context_len, sources_apart): (u32, bool),
    opening: Vec<TokenId>,
) -> SchedulerOptions {
    let ScheduleOptions {
        sequences_max,
        waiting_max,
        tokens_per_step: _,
        prompt_tokens_beside_decode: _,
        prefix_cache_n,
        prompt_lookup_n: _,
    } = *options;
    SchedulerOptions {
        block_size: cache.block_size,
        blocks: cache.blocks,
        context_len,
        max_seqs: sequences_max,
        tokens_per_step: step.all,
        prompt_tokens_beside_decode: step.beside_decode,
        draft_tokens: step.draft,
        waiting_max,
        prefix_cache_n,
        sources_apart,
        opening,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_takes_no_drafts_is_asked_for_none() {
        let suits = StepTokens { all: 2048, beside_decode: 512, draft: 0 };
        let steps = |prompt_lookup_n| {
            step_tokens(&ScheduleOptions { prompt_lookup_n, ..ScheduleOptions::default() }, suits)
        };
        assert_eq!([steps(None), steps(Some(0))], [Ok(suits), Ok(suits)]);
        let error = steps(Some(7)).unwrap_err().to_string();
        assert_eq!(error, "prompt_lookup_n is 7, allowed is 0 on this device");
    }
}
