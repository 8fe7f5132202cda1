//! generation_config.json: the model's end tokens and suggested sampling.

use std::path::Path;

use super::config::{Config, ConfigError};

/// What the file says; everything is optional, and so is the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
    pub pad_token_id: Option<u32>,
    pub do_sample: Option<bool>,
    pub temperature: Option<f32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
}

impl GenerationConfig {
    /// An absent file is an empty one.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        if !path.exists() {
            return Ok(GenerationConfig::default());
        }
        Self::from_config(&Config::open(path)?)
    }

    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let float = |key| Ok::<_, ConfigError>(config.float(key)?.map(|value| value as f32));
        let top_k = config.uint("top_k")?.map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        Ok(GenerationConfig {
            bos_token_id: config.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: config.token_ids("eos_token_id")?,
            pad_token_id: config.token_ids("pad_token_id")?.first().copied(),
            do_sample: config.bool("do_sample")?,
            temperature: float("temperature")?,
            top_k,
            top_p: float("top_p")?,
            min_p: float("min_p")?,
            repetition_penalty: float("repetition_penalty")?,
        })
    }
}
