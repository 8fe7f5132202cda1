//! Checked values: a number, text or path that can only hold what its key allows.
//!
//! The bounds stand in the type, so TOML, flags and the JSON schema cannot disagree about them.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A whole number from `MIN` to `MAX`, `DEFAULT` when the key is absent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u64", try_from = "i64")]
pub struct Bounded<const MIN: u64, const MAX: u64, const DEFAULT: u64 = MIN>(u64);

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Bounded<MIN, MAX, DEFAULT> {
    /// Fails to compile where a type is declared with bounds that make no sense.
    const VALID: () = assert!(MIN <= DEFAULT && DEFAULT <= MAX && MAX <= i64::MAX as u64);

    pub fn new(value: u64) -> Result<Self, OutOfBounds> {
        let () = Self::VALID;
        match value {
            value if (MIN..=MAX).contains(&value) => Ok(Bounded(value)),
            value => Err(OutOfBounds { value: value.to_string(), min: MIN, max: MAX }),
        }
    }

    pub fn get(self) -> u64 {
        self.0
    }

    /// The value as `usize`, which holds it on every supported target.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not a whole number from {min} to {max}")]
pub struct OutOfBounds {
    value: String,
    min: u64,
    max: u64,
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> Default for Bounded<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        let () = Self::VALID;
        Bounded(DEFAULT)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> TryFrom<i64> for Bounded<MIN, MAX, DEFAULT> {
    type Error = OutOfBounds;

    fn try_from(value: i64) -> Result<Self, OutOfBounds> {
        let out_of_bounds = OutOfBounds { value: value.to_string(), min: MIN, max: MAX };
        u64::try_from(value).map_err(|_| out_of_bounds).and_then(Self::new)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> From<Bounded<MIN, MAX, DEFAULT>> for u64 {
    fn from(value: Bounded<MIN, MAX, DEFAULT>) -> u64 {
        value.0
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> fmt::Debug for Bounded<MIN, MAX, DEFAULT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> fmt::Display for Bounded<MIN, MAX, DEFAULT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> JsonSchema for Bounded<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Bounded_{MIN}_{MAX}_{DEFAULT}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "format": "int64", "minimum": MIN, "maximum": MAX })
    }
}

/// Any positive count that a signed 64-bit number holds.
pub type Count = Bounded<1, { i64::MAX as u64 }>;

/// A share of a whole: more than 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(into = "f64", try_from = "f64")]
#[schemars(inline, extend("exclusiveMinimum" = 0, "maximum" = 1))]
pub struct Fraction(f64);

impl Fraction {
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Fraction {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        match value {
            value if value > 0.0 && value <= 1.0 => Ok(Fraction(value)),
            value => Err(format!("{value} is not more than 0 and at most 1")),
        }
    }
}

impl From<Fraction> for f64 {
    fn from(value: Fraction) -> f64 {
        value.0
    }
}

/// Text of 1 to 4096 bytes without control characters: names, ids, addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(inline, extend("minLength" = 1, "maxLength" = 4096))]
pub struct Text(String);

impl Text {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        match value {
            value if value.trim().is_empty() => Err("must not be empty"),
            value if value.len() > 4096 => Err("must not be longer than 4096 bytes"),
            value if value.chars().any(char::is_control) => Err("must not hold control characters"),
            value => Ok(Text(value)),
        }
    }
}

impl From<Text> for String {
    fn from(value: Text) -> String {
        value.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A file or directory. A relative one that stands in a file is meant from that file's folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(inline, with = "String", extend("minLength" = 1, "format" = "path"))]
pub struct FilePath(PathBuf);

impl FilePath {
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        match value {
            value if value.is_empty() => Err("must not be empty"),
            value if value.contains('\0') => Err("must not hold control characters"),
            value => Ok(FilePath(value.into())),
        }
    }
}

impl From<FilePath> for String {
    fn from(value: FilePath) -> String {
        // Made from text.
        value.0.to_string_lossy().into_owned()
    }
}

impl From<FilePath> for PathBuf {
    fn from(value: FilePath) -> PathBuf {
        value.0
    }
}
