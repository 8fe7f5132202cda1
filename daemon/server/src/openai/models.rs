//! `/v1/models`.

use ostro_engine::DeviceInfo;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    pub data: Vec<ModelCard>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelCard {
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Unix seconds at which the server learned of the model.
    pub created: u64,
    pub owned_by: &'static str,
    pub status: ModelStatus,
    /// 0 to 1 while loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f32>,
    /// What is being done while loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Why it failed to load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Longest prompt and answer together, in tokens; known once loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// What it runs on; known once loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<ModelDevice>,
    /// Other names that requests may use.
    pub aliases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelDevice {
    /// `cpu` or `cuda`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// A GPU's name; of the CPU the instruction set.
    pub name: String,
    /// Of a GPU, as nvidia-smi and the metrics have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelStatus {
    Loading,
    Loaded,
    Failed,
}

impl From<&DeviceInfo> for ModelDevice {
    fn from(device: &DeviceInfo) -> Self {
        let DeviceInfo { kind, name, uuid } = device;
        ModelDevice { kind: kind.name(), name: name.clone(), uuid: uuid.clone() }
    }
}
