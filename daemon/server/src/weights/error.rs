//! Why a model's files cannot be had, each with what a person can do about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::Format;

#[derive(Debug, Error)]
pub enum WeightsError {
    #[error("{} does not exist", .0.display())]
    LocalNotFound(PathBuf),
    #[error("{} is on this machine, where hf_revision \"{revision}\" means nothing", path.display())]
    RevisionOfPath { path: PathBuf, revision: String },
    #[error("\"{0}\" is neither a path nor a hub id (owner/name)")]
    InvalidId(String),
    #[error("{model} has several GGUF files; name one by quantized_file: {}", candidates.join(", "))]
    AmbiguousFile { model: String, candidates: Vec<String> },
    #[error("{model} has no file {file}; it has: {}", candidates.join(", "))]
    FileNotFound { model: String, file: String, candidates: Vec<String> },
    #[error("{model} has {}", no_weights(*.format))]
    NoWeights { model: String, format: Option<Format> },
    #[error("the hub refuses {model} ({endpoint}): {}; check token_source", credentials(*.has_token))]
    Unauthorised { model: String, endpoint: String, has_token: bool },
    #[error("{model} is gated: accept its conditions at {page} with the account of the token, then retry")]
    Gated { model: String, page: String },
    #[error("the hub has no model {model} ({endpoint}); if it is private, {}", credentials(*.has_token))]
    NotFound { model: String, endpoint: String, has_token: bool },
    #[error("{model} has no revision \"{revision}\"")]
    RevisionNotFound { model: String, revision: String },
    #[error("{model} ({what}) is not in the cache {} and the hub is not asked while offline", cache.display())]
    NotCached { model: String, what: String, cache: PathBuf },
    #[error("no space left for {}", .0.display())]
    DiskFull(PathBuf),
    #[error("cannot access {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("this process stood still for {} s, and what is needed may be other now: run it again", .0.as_secs())]
    StoodStill(Duration),
    #[error("cannot read the hub token {}", path.display())]
    Token { path: PathBuf, source: io::Error },
    #[error("the hub's address \"{0}\" is not a URL")]
    Endpoint(String),
    #[error("cannot reach the hub for {model}")]
    Network { model: String, source: Box<dyn Error + Send + Sync> },
    #[error("the hub answers {status} for {model}{}", after_colon(message))]
    Status { model: String, status: u16, message: String },
    #[error("the hub's answer for {model} makes no sense: {what}")]
    Malformed { model: String, what: String },
    #[error("{file} of {model} arrived damaged (its sha256 or length differs); it was removed, retry")]
    Damaged { model: String, file: String },
}

fn no_weights(format: Option<Format>) -> &'static str {
    match format {
        None => "neither a GGUF file nor config.json with model.safetensors (or its index)",
        Some(Format::Gguf) => "no GGUF file, which its format asks for",
        Some(Format::Plain) => {
            "no config.json with model.safetensors (or its index), which its format asks for"
        }
    }
}

fn after_colon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn credentials(has_token: bool) -> &'static str {
    if has_token { "this token gives no access to it" } else { "it needs a token" }
}

impl WeightsError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WeightsError::DiskFull(path.to_owned())
            }
            _ => WeightsError::Io { path: path.to_owned(), source },
        }
    }

    /// Nothing newer can be had: the hub cannot be asked, or does not answer as hubs do (what stands before it may, such as
    /// a portal that wants a login), or the cache takes nothing more.
    pub(super) fn leaves_what_is_cached(&self) -> bool {
        use WeightsError::{DiskFull, Io, Malformed};
        self.is_transient() || matches!(self, Malformed { .. } | DiskFull(_) | Io { .. })
    }

    /// Whether asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            WeightsError::Network { .. } => true,
            WeightsError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }
}
