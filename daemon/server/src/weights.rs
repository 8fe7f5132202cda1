//! Finds a model's files: a local file, a local directory, or a repository of a model hub, downloaded
//! into the hub's usual cache, which other tools read and fill too.
//!
//! Blocks the calling thread. Address, cache, token and mode are options; of the environment only the
//! proxy variables count, which the HTTP client reads.
//! `hf-hub` asks the hub about a repository. Files are transferred here, because that crate (1.0.0)
//! starts an interrupted file again from its beginning, waits for a silent server without limit and
//! does not look at the status of a download.

mod cache;
mod download;
mod error;
mod hub;
mod local;
mod names;
mod patience;
mod prune;
mod repository;
mod select;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use error::WeightsError;
pub use hub::without_credentials;
pub use names::{ModelLocation, name_of_path};
pub use prune::{Need, Pulse, Removal, Unneeded, What, finish_removals, unneeded};

pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_REVISION: &str = "main";

/// Which model is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelReference {
    pub model: ModelLocation,
    /// The GGUF file of a directory or repository that has several.
    pub quantized_file: Option<String>,
    /// Branch, tag or commit on the hub; absent is `main`.
    pub revision: Option<String>,
    /// Which of its weights; absent goes by the files' names.
    pub format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `config.json` with safetensors.
    Plain,
    Gguf,
}

impl From<ModelLocation> for ModelReference {
    fn from(model: ModelLocation) -> Self {
        ModelReference { model, quantized_file: None, revision: None, format: None }
    }
}

/// How the hub is reached.
#[derive(Clone, Debug)]
pub struct HubOptions {
    pub endpoint: String,
    /// `HF_HOME`: holds the token file and, unless `cache` is given, the cache.
    pub home: PathBuf,
    /// `HF_HUB_CACHE`: `hub` under `home` when absent.
    pub cache: Option<PathBuf>,
    pub mode: HubMode,
    pub token: HubToken,
    /// Failures in a row, without a byte more than ever before between them, until a download gives up.
    pub retries: u32,
    /// Waited before the first retry; doubles with each further one.
    pub retry_delay: Duration,
    /// Longest silence of the server.
    pub idle_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubMode {
    Online,
    /// Only what is in the cache.
    Offline,
}

/// Where the token for private and gated repositories comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum HubToken {
    None,
    /// The file `token` under `home`, if there is one.
    Cached,
    Literal(String),
    File(PathBuf),
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubToken::None => f.write_str("None"),
            HubToken::Cached => f.write_str("Cached"),
            HubToken::Literal(_) => f.write_str("Literal(***)"),
            HubToken::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl HubOptions {
    pub fn new(home: impl Into<PathBuf>) -> Self {
        HubOptions {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            home: home.into(),
            cache: None,
            mode: HubMode::Online,
            token: HubToken::Cached,
            retries: 5,
            retry_delay: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// Where downloaded models are kept.
    pub fn cache_folder(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.home.join("hub"))
    }
}

/// How far a download has come, in bytes of all files of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadProgress {
    /// The file that is being transferred.
    pub file: String,
    pub done: u64,
    pub total: u64,
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedModel {
    /// A GGUF file, or a directory with `config.json`.
    pub path: PathBuf,
    /// The hub's commit, for models from the hub.
    pub commit: Option<String>,
}

/// Whether the hub is asked for this one.
pub fn is_of_hub(reference: &ModelReference, options: &HubOptions) -> bool {
    options.mode == HubMode::Online && matches!(reference.model, ModelLocation::Hub(_))
}

/// Finds the model and downloads what is missing.
pub fn resolve_model(
    reference: &ModelReference,
    options: &HubOptions,
    progress: &dyn Fn(DownloadProgress),
) -> Result<ResolvedModel, WeightsError> {
    match &reference.model {
        ModelLocation::Path(path) if !path.exists() => Err(WeightsError::LocalNotFound(path.clone())),
        ModelLocation::Path(path) => {
            if let Some(revision) = reference.revision.clone() {
                return Err(WeightsError::RevisionOfPath { path: path.clone(), revision });
            }
            let path = local::model_in(path, reference.quantized_file.as_deref(), reference.format)?;
            Ok(ResolvedModel { path, commit: None })
        }
        ModelLocation::Hub(id) => {
            names::check_repository_id(id)?;
            repository::resolve(id, reference, (options, progress))
        }
    }
}

#[cfg(test)]
mod tests;
