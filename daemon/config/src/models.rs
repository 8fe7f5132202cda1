//! `[[models]]`: one loaded model each, with nested tables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{FilePath, Text};

mod adapter;
mod device;
mod format;
mod multimodal;
mod quantization;

pub use adapter::{AdapterConfig, LoraSource};
pub use device::{DeviceConfig, DeviceLayers};
pub use format::{FormatConfig, WeightFormat};
pub use multimodal::MultimodalConfig;
pub use quantization::{IsqOrganization, QuantizationConfig};

/// One model to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A directory, a GGUF file or a hub id; the name clients use.
    #[schemars(extend("x-flag" = "-m, --model-id"))]
    pub model_id: Text,
    /// Branch, tag or commit of a hub model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--hf-revision", "x-default" = "main"))]
    pub hf_revision: Option<Text>,
    /// Loader to use; `auto` reads it from the model's files.
    #[serde(default)]
    #[schemars(extend("x-flag" = "--kind"))]
    pub kind: ModelKind,
    /// A tokenizer.json to use in place of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-t, --tokenizer"))]
    pub tokenizer: Option<FilePath>,
    /// Architecture to assume, of text models; absent reads it from the model's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-a, --arch"))]
    pub arch: Option<Architecture>,
    /// Type of activations; `auto` is f32. Weights keep the type of their file.
    #[serde(default)]
    #[schemars(extend("x-flag" = "--dtype"))]
    pub dtype: Dtype,
    /// Chat template file (.json or .jinja) of this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-c, --chat-template"))]
    pub chat_template: Option<FilePath>,
    /// Jinja template file that overrides this model's other chat templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-j, --jinja-explicit"))]
    pub jinja_explicit: Option<FilePath>,
    /// MatFormer slice configuration (CSV or JSON) of this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--matformer-config-path"))]
    pub matformer_config_path: Option<FilePath>,
    /// MatFormer slice of this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--matformer-slice-name",
        "x-requires" = ["models.matformer_config_path", "runtime.matformer_config_path"]))]
    pub matformer_slice_name: Option<Text>,
    /// How the weights are stored.
    #[serde(default)]
    pub format: FormatConfig,
    /// LoRA and X-LoRA adapters.
    #[serde(default)]
    pub adapter: AdapterConfig,
    /// Quantisation on load.
    #[serde(default)]
    pub quantization: QuantizationConfig,
    /// Where the model runs and what memory is planned for.
    #[serde(default)]
    pub device: DeviceConfig,
    /// Limits of images, video and audio.
    #[serde(default)]
    pub multimodal: MultimodalConfig,
}

impl ModelConfig {
    /// A model with every other key at its default.
    pub fn new(model_id: Text) -> Self {
        ModelConfig {
            model_id,
            hf_revision: None,
            kind: ModelKind::default(),
            tokenizer: None,
            arch: None,
            dtype: Dtype::default(),
            chat_template: None,
            jinja_explicit: None,
            matformer_config_path: None,
            matformer_slice_name: None,
            format: FormatConfig::default(),
            adapter: AdapterConfig::default(),
            quantization: QuantizationConfig::default(),
            device: DeviceConfig::default(),
            multimodal: MultimodalConfig::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ModelKind {
    #[default]
    Auto,
    Text,
    Multimodal,
    Diffusion,
    Speech,
    Embedding,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Dtype {
    #[default]
    Auto,
    F16,
    Bf16,
    F32,
}

/// Architectures of text models, by the reference's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Architecture {
    Mistral,
    Gemma,
    Mixtral,
    Llama,
    Phi2,
    Phi3,
    Qwen2,
    Gemma2,
    Starcoder2,
    #[serde(rename = "phi3.5moe")]
    Phi35Moe,
    Deepseekv2,
    Deepseekv3,
    Qwen3,
    Glm4,
    Glm4moelite,
    Glm4moe,
    Qwen3moe,
    Smollm3,
    Granitemoehybrid,
    GptOss,
    Hunyuanv1dense,
    Hunyuanv1moe,
    Qwen3next,
    #[serde(rename = "qwen3_5")]
    Qwen35,
    Lfm2,
    Lfm2Moe,
}
