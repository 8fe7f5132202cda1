//! The families of models: how each one's settings become a `DecoderSpec`, and its tensors' names.
//!
//! A family is one file here and one entry in `FAMILIES`. What a file asks for and the decoder does
//! not do is refused by name; nothing is ignored that would change an answer.

mod config_settings;
mod gguf_settings;
mod llama;
mod names;
mod qwen2;
mod qwen3;

#[cfg(test)]
mod tests;

use super::spec::{DecoderSpec, SpecError};
use crate::weights::gguf::MetadataError;
use crate::weights::{Config, ConfigError, GgufFile, ModelFiles, SafetensorsDir};

pub use names::TensorNames;

/// One family.
pub struct Family {
    /// `general.architecture` of a GGUF file.
    name: &'static str,
    /// Entries of `architectures` in config.json.
    classes: &'static [&'static str],
    from_gguf: fn(&GgufFile) -> Result<DecoderSpec, FamilyError>,
    from_config: fn(&Config) -> Result<DecoderSpec, FamilyError>,
    gguf_names: &'static TensorNames,
    safetensors_names: &'static TensorNames,
}

const FAMILIES: [&Family; 3] = [&llama::FAMILY, &qwen2::FAMILY, &qwen3::FAMILY];

/// Why a model's settings give no decoder.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    #[error("the architecture {found:?} is not supported; supported are {supported}")]
    Architecture { found: String, supported: String },
    #[error("{what} is not supported by this build")]
    Unsupported { what: String },
    #[error("the file has no tensor {0:?}")]
    MissingTensor(String),
    #[error("the tokenizer has {tokens} tokens, the embedding only {rows} rows")]
    Vocabulary { tokens: usize, rows: usize },
    #[error("metadata")]
    Metadata(#[from] MetadataError),
    #[error("config.json")]
    Config(#[from] ConfigError),
    #[error("the model cannot be run")]
    Spec(#[from] SpecError),
}

/// Reads the settings of a model and checks that the decoder can run it.
pub fn read_spec(files: &ModelFiles) -> Result<(&'static Family, DecoderSpec), FamilyError> {
    let (family, spec) = match files {
        ModelFiles::Gguf(file) => {
            let family = gguf_family(file)?;
            (family, (family.from_gguf)(file)?)
        }
        ModelFiles::Safetensors(directory) => {
            let family = config_family(directory)?;
            (family, (family.from_config)(directory.config())?)
        }
    };
    spec.check()?;
    Ok((family, spec))
}

impl Family {
    /// The names this family's tensors have in such files.
    pub fn tensor_names(&self, files: &ModelFiles) -> &'static TensorNames {
        match files {
            ModelFiles::Gguf(_) => self.gguf_names,
            ModelFiles::Safetensors(_) => self.safetensors_names,
        }
    }
}

fn gguf_family(file: &GgufFile) -> Result<&'static Family, FamilyError> {
    const KEY: &str = "general.architecture";
    let found = file.metadata().str(KEY)?.ok_or_else(|| MetadataError::Missing(KEY.into()))?;
    let family = FAMILIES.into_iter().find(|family| family.name == found);
    family.ok_or_else(|| unknown(found, FAMILIES.map(|family| family.name).join(", ")))
}

fn config_family(directory: &SafetensorsDir) -> Result<&'static Family, FamilyError> {
    const KEY: &str = "architectures";
    let classes = directory.config().strings(KEY)?;
    let found = *classes.iter().flatten().next().ok_or_else(|| ConfigError::Missing(KEY.into()))?;
    let family = FAMILIES.into_iter().find(|family| family.classes.contains(&found));
    family.ok_or_else(|| unknown(found, FAMILIES.map(|family| family.classes.join(", ")).join(", ")))
}

fn unknown(found: &str, supported: String) -> FamilyError {
    FamilyError::Architecture { found: found.chars().take(100).collect(), supported }
}

fn unsupported(what: impl Into<String>) -> FamilyError {
    FamilyError::Unsupported { what: what.into() }
}
