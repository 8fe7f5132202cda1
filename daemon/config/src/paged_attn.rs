//! `[paged_attn]`: the memory that holds keys and values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Count, Fraction};

/// The memory that holds keys and values, for all models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PagedAttnConfig {
    /// Whether the cache is paged; `auto` pages on every device.
    #[schemars(extend("x-flag" = "--paged-attn"))]
    pub mode: PagedAttnMode,
    /// Room for this many tokens of all sequences together, for each model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--pa-context-len"))]
    pub context_len: Option<Count>,
    /// Room in MiB, shared evenly by the models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--pa-memory-mb", "x-conflicts" = ["paged_attn.context_len"]))]
    pub memory_mb: Option<Count>,
    /// Room as a share of all the memory that the GPU has, or on CPU of all that the process may use, weights not
    /// counted; shared evenly by the models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--pa-memory-fraction",
        "x-conflicts" = ["paged_attn.context_len", "paged_attn.memory_mb"]))]
    pub memory_fraction: Option<Fraction>,
    /// Tokens of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--pa-block-size", "x-default" = "32"))]
    pub block_size: Option<BlockSize>,
    /// How a key or value is stored; `auto` is f16. On GPUs only f16: a model does not load with another.
    #[schemars(extend("x-flag" = "--pa-cache-type"))]
    pub cache_type: CacheType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PagedAttnMode {
    #[default]
    Auto,
    On,
    Off,
}

/// Tokens of a cache block: 8, 16, 32 or 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "u64", try_from = "i64")]
#[schemars(inline, with = "i64", extend("enum" = [8, 16, 32, 64]))]
pub struct BlockSize(u8);

impl BlockSize {
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }
}

impl TryFrom<i64> for BlockSize {
    type Error = &'static str;

    fn try_from(value: i64) -> Result<Self, &'static str> {
        match value {
            8 => Ok(BlockSize(8)),
            16 => Ok(BlockSize(16)),
            32 => Ok(BlockSize(32)),
            64 => Ok(BlockSize(64)),
            _ => Err("not a block size"),
        }
    }
}

impl From<BlockSize> for u64 {
    fn from(value: BlockSize) -> u64 {
        u64::from(value.0)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CacheType {
    #[default]
    Auto,
    F32,
    F16,
    Bf16,
    F8e4m3,
}
