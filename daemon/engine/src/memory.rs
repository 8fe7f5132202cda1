//! How much memory there is, and how many KV blocks that buys.
//!
//! Reads /proc and /sys once, at load; the decisions are pure. What cannot be read is not a limit.

mod host;
mod ledger;

pub use host::{Memory, MemoryOwner};
pub use ledger::{MemoryLedger, Promise};

use crate::options::{CacheOptions, CacheSize};

/// Of the memory left beside the weights, what an automatically sized cache takes, but for one full context.
const AUTO_PART: u64 = 4;

/// Models that the same memory will hold after this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaterModels {
    pub count: u64,
    /// Of their weights and activations, as far as they are known.
    pub bytes: u64,
}

/// What the cache must fit in and hold.
#[derive(Clone, Copy, Debug)]
pub struct CacheRequest {
    pub options: CacheOptions,
    pub bytes_per_block: u64,
    /// Of one sequence.
    pub context_len: u32,
    pub sequences_max: usize,
    /// Packed weights and activations.
    pub model_bytes: u64,
    /// An automatic cache leaves them room.
    pub later: LaterModels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error("the model needs {} MiB, {} MiB of {owner} are available", mib(*model_bytes), mib(*available_bytes))]
    Model { model_bytes: u64, available_bytes: u64, owner: MemoryOwner },
    #[error(
        "the model needs {} MiB and the key-value cache {} MiB, {} MiB of {owner} are available; \
         a smaller cache can be chosen by context_len, memory_mb or memory_fraction",
        mib(*model_bytes), mib(*cache_bytes), mib(*available_bytes)
    )]
    Cache { model_bytes: u64, cache_bytes: u64, available_bytes: u64, owner: MemoryOwner },
    #[error(
        "the key-value cache gets {cache_bytes} bytes, one block of {block_size} tokens takes {bytes_per_block}"
    )]
    NoBlock { cache_bytes: u64, block_size: u32, bytes_per_block: u64 },
    #[error("a key-value cache of {blocks} blocks is more than can be numbered")]
    TooManyBlocks { blocks: u64 },
    #[error("memory_fraction is {permille} thousandths, allowed is more than 0 and at most 1000")]
    Fraction { permille: i64 },
}

impl CacheRequest {
    /// The number of blocks, at least one, that together with the model fit in the memory there is.
    pub fn blocks(&self, host: &Memory) -> Result<u32, MemoryError> {
        let available_bytes = host.available_bytes.unwrap_or(u64::MAX);
        let model_bytes = self.model_bytes;
        let Some(left_bytes) = available_bytes.checked_sub(model_bytes) else {
            return Err(MemoryError::Model { model_bytes, available_bytes, owner: host.owner });
        };
        let blocks = match self.options.size {
            CacheSize::Auto => self.auto_blocks(host, left_bytes),
            CacheSize::ContextLen(tokens) => tokens.div_ceil(self.options.block_size.into()),
            CacheSize::Megabytes(megabytes) => self.blocks_in(megabytes.saturating_mul(1 << 20))?,
            CacheSize::MemoryFraction(fraction) => {
                self.blocks_in(fraction_of(fraction, host.total_bytes)?)?
            }
        };
        let cache_bytes = blocks.saturating_mul(self.bytes_per_block);
        if cache_bytes > left_bytes {
            return Err(MemoryError::Cache { model_bytes, cache_bytes, available_bytes, owner: host.owner });
        }
        match u32::try_from(blocks) {
            Ok(0) => Err(self.no_block(cache_bytes)),
            Ok(blocks) if blocks < u32::MAX => Ok(blocks),
            _ => Err(MemoryError::TooManyBlocks { blocks }),
        }
    }

    /// A full context for every sequence, within a part of the memory; one full context even beyond that part.
    fn auto_blocks(&self, host: &Memory, left_bytes: u64) -> u64 {
        let context = u64::from(self.context_len.div_ceil(self.options.block_size));
        let wanted = context.saturating_mul(self.sequences_max as u64);
        if host.available_bytes.is_none() {
            return context;
        }
        let share = self.share(left_bytes);
        let (part, most) = match host.owner {
            MemoryOwner::Shared => (share / AUTO_PART, share / 2),
            MemoryOwner::Models => (share / 10 * 9, share / 10 * 9),
        };
        let (part, most) = (part / self.bytes_per_block, most / self.bytes_per_block);
        wanted.min(part.max(context.min(most)))
    }

    /// An equal one of what this and the later models leave for caches. Where that is next to nothing they cannot be beside
    /// each other: the first one is loaded, later ones are refused.
    fn share(&self, left_bytes: u64) -> u64 {
        let LaterModels { count, bytes } = self.later;
        let share = left_bytes.saturating_sub(bytes) / (1 + count);
        if share / 2 < self.bytes_per_block { left_bytes } else { share }
    }

    fn blocks_in(&self, cache_bytes: u64) -> Result<u64, MemoryError> {
        match cache_bytes / self.bytes_per_block {
            0 => Err(self.no_block(cache_bytes)),
            blocks => Ok(blocks),
        }
    }

    fn no_block(&self, cache_bytes: u64) -> MemoryError {
        let (block_size, bytes_per_block) = (self.options.block_size, self.bytes_per_block);
        MemoryError::NoBlock { cache_bytes, block_size, bytes_per_block }
    }
}

fn fraction_of(fraction: f32, total_bytes: Option<u64>) -> Result<u64, MemoryError> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(MemoryError::Fraction { permille: (fraction * 1000.0) as i64 });
    }
    Ok((total_bytes.unwrap_or(u64::MAX) as f64 * f64::from(fraction)) as u64)
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests;
