//! `[models.adapter]`: LoRA and X-LoRA adapters of a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Bounded, Count, FilePath, Text};

/// LoRA and X-LoRA adapters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterConfig {
    /// Accept LoRA adapters while serving, even if none is loaded at start.
    #[schemars(extend("x-flag" = "--enable-lora",
        "x-conflicts" = ["models.adapter.legacy_lora", "models.adapter.xlora"]))]
    pub enable_lora: bool,
    /// LoRA adapters to load at start; as a flag ALIAS=SOURCE or JSON, repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-flag" = "--lora, --lora-modules",
        "x-conflicts" = ["models.adapter.legacy_lora", "models.adapter.xlora"]))]
    pub lora: Vec<LoraSource>,
    /// LoRA adapters held together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--lora-max-adapters", "x-default" = "16",
        "x-conflicts" = ["models.adapter.legacy_lora", "models.adapter.xlora"]))]
    pub lora_max_adapters: Option<Bounded<1, 65_536, 16>>,
    /// Highest rank of an adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--lora-max-rank, --max-lora-rank", "x-default" = "256",
        "x-conflicts" = ["models.adapter.legacy_lora", "models.adapter.xlora"]))]
    pub lora_max_rank: Option<Bounded<1, 65_536, 256>>,
    /// Bytes of all adapters together; as a flag also with KB, MB, GB, KiB, MiB or GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--lora-max-bytes", "x-default" = "8589934592", "x-unit" = "bytes",
        "x-conflicts" = ["models.adapter.legacy_lora", "models.adapter.xlora"]))]
    pub lora_max_bytes: Option<Count>,
    /// LoRA adapters merged in a fixed order: ids separated by `;`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--legacy-lora", "x-conflicts" = ["models.adapter.xlora"]))]
    pub legacy_lora: Option<Text>,
    /// Ordering file (JSON) of `legacy_lora`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--legacy-lora-order", "x-requires" = ["models.adapter.legacy_lora"]))]
    pub legacy_lora_order: Option<FilePath>,
    /// X-LoRA model id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--xlora"))]
    pub xlora: Option<Text>,
    /// Ordering file (JSON) of `xlora`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--xlora-order", "x-requires" = ["models.adapter.xlora"]))]
    pub xlora_order: Option<FilePath>,
    /// Token after which X-LoRA scalings are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--tgt-non-granular-index", "x-requires" = ["models.adapter.xlora"]))]
    pub tgt_non_granular_index: Option<Bounded<0, 1_048_576>>,
}

/// One LoRA adapter to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct LoraSource {
    /// Name that requests use, at most 256 bytes.
    pub alias: Text,
    /// Hub id or directory.
    pub source: Text,
    /// Branch, tag or commit of a hub id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Text>,
}
