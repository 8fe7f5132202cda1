//! config.json of a model directory, read key by key with errors that name the key and its value.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Real ones have a few kilobytes.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// A settings object of a model directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    entries: Map<String, Value>,
}

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} has {bytes} bytes, at most {limit} are allowed", path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error("{} is not valid JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{} is not a JSON object", .0.display())]
    NotAnObject(PathBuf),
    #[error("config key {0:?} is missing")]
    Missing(String),
    #[error("config key {key:?} is {value}, expected {expected}")]
    Value { key: String, value: String, expected: &'static str },
}

impl Config {
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        match read_json(path, CONFIG_BYTES_MAX)? {
            Value::Object(entries) => Ok(Config { entries }),
            _ => Err(ConfigError::NotAnObject(path.into())),
        }
    }

    /// The value, `None` when absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).filter(|value| !value.is_null())
    }

    pub fn uint(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        self.typed(key, "a non-negative integer", Value::as_u64)
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub fn str(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A nested object, to be read by the same functions.
    pub fn object(&self, key: &str) -> Result<Option<Config>, ConfigError> {
        let entries = self.typed(key, "an object", Value::as_object)?;
        Ok(entries.map(|entries| Config { entries: entries.clone() }))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if some value is an object itself.
    pub fn has_objects(&self) -> bool {
        self.entries.values().any(Value::is_object)
    }

    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, ConfigError> {
        self.typed(key, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    /// An error that says what this key's value should be.
    pub fn value_error(&self, key: &str, expected: &'static str) -> ConfigError {
        let value = self.entries.get(key).unwrap_or(&Value::Null);
        let value = value.to_string().chars().take(100).collect();
        ConfigError::Value { key: key.into(), value, expected }
    }

    /// Present when the weights are packed by a quantiser (GPTQ, AWQ, FP8, …).
    pub(super) fn quantisation_method(&self) -> Option<String> {
        let settings = self.get("quantization_config").or_else(|| self.get("compression_config"))?;
        let method = settings.get("quant_method").and_then(Value::as_str);
        Some(method.unwrap_or("an unnamed method").to_owned())
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| self.value_error(key, expected))
    }
}

/// Reads a bounded regular file as JSON; nesting is bounded by the parser.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, bytes_max: u64) -> Result<T, ConfigError> {
    let read_error = |source| ConfigError::Read { path: path.into(), source };
    let about = std::fs::metadata(path).map_err(read_error)?;
    if !about.is_file() {
        return Err(ConfigError::NotAFile(path.into()));
    }
    if about.len() > bytes_max {
        return Err(ConfigError::TooLarge { path: path.into(), bytes: about.len(), limit: bytes_max });
    }
    let bytes = std::fs::read(path).map_err(read_error)?;
    ostro_json::from_slice(&bytes).map_err(|source| ConfigError::Json { path: path.into(), source })
}
