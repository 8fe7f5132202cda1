//! `[models.device]`: where a model runs and what memory is planned for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Bounded, FilePath};

/// Where the model runs and what memory is planned for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Run on the CPU, also where there is a GPU; the same for all models that set it. Absent, a model runs on the first
    /// GPU that can be used, and on the CPU where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--cpu", "x-default" = "the first GPU, else the CPU"))]
    pub cpu: Option<bool>,
    /// Layers of each device, `DEVICE:LAYERS` each; as a flag separated by `;`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-flag" = "-n, --device-layers", "x-separator" = ";"))]
    pub device_layers: Vec<DeviceLayers>,
    /// Topology file (YAML): device and quantisation of each layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--topology"))]
    pub topology: Option<FilePath>,
    /// Directory of downloaded hub models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--hf-cache", "x-default" = "hub/ under HF_HOME"))]
    pub hf_cache: Option<FilePath>,
    /// Longest sequence, prompt and answer, in tokens; longer requests are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-seq-len", "x-default" = "what the model was trained for"))]
    pub max_seq_len: Option<Bounded<2, { u32::MAX as u64 }>>,
    /// Sequences of this model that run together, where less than `runtime.max_seqs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-batch-size", "x-default" = "runtime.max_seqs"))]
    pub max_batch_size: Option<Bounded<1, 65_536>>,
}

/// Layers that one device holds, written `DEVICE:LAYERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(inline, with = "String", extend("pattern" = "^[0-9]+:[0-9]+$", "x-allowed" = "texts like \"0:16\""))]
pub struct DeviceLayers {
    pub device: u32,
    pub layers: u32,
}

impl TryFrom<String> for DeviceLayers {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        let parsed = value.split_once(':').and_then(|(device, layers)| {
            Some(DeviceLayers { device: device.parse().ok()?, layers: layers.parse().ok()? })
        });
        parsed.ok_or("not DEVICE:LAYERS")
    }
}

impl From<DeviceLayers> for String {
    fn from(value: DeviceLayers) -> String {
        format!("{}:{}", value.device, value.layers)
    }
}
