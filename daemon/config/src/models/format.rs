//! `[models.format]`: how a model's weights are stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Bounded, Text};

/// How the weights are stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FormatConfig {
    /// Format of the weights; absent goes by the files' names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--format", "x-default" = "by the files' names"))]
    pub format: Option<WeightFormat>,
    /// The file to load from the model's directory or repository; several parts separated by `;`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-f, --quantized-file"))]
    pub quantized_file: Option<Text>,
    /// Multimodal projector of a GGUF model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--mmproj"))]
    pub mmproj: Option<Text>,
    /// Model whose tokenizer to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--tok-model-id"))]
    pub tok_model_id: Option<Text>,
    /// Query heads for each KV head, of GGML files.
    #[schemars(extend("x-flag" = "--gqa"))]
    pub gqa: Bounded<1, 1024>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WeightFormat {
    Plain,
    Gguf,
    Ggml,
}
