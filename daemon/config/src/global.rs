//! `[global]`: what concerns every command.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Bounded, FilePath};

/// What concerns every command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalConfig {
    /// Sampling seed of requests that bring none; absent draws one for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--seed"))]
    pub seed: Option<Bounded<0, { i64::MAX as u64 }>>,
    /// File that receives every request and response, payloads included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-l, --log"))]
    pub log: Option<FilePath>,
    /// Where the hub token comes from: `cache`, `none`, `literal:TOKEN`, `env:NAME` or `path:FILE`.
    #[schemars(extend("x-flag" = "--token-source"))]
    pub token_source: TokenSource,
}

/// Where the token for the model hub comes from.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(inline, extend("x-allowed" = "cache, none, literal:TOKEN, env:NAME or path:FILE"))]
#[schemars(with = "String")]
pub enum TokenSource {
    /// The token file that the hub's own tools keep under `HF_HOME`.
    #[default]
    Cache,
    None,
    Literal(String),
    Env(String),
    Path(PathBuf),
}

impl TokenSource {
    /// The source without its secret, for people and logs.
    pub fn masked(&self) -> String {
        match self {
            TokenSource::Literal(_) => "literal:***".to_owned(),
            source => String::from(source.clone()),
        }
    }
}

impl TryFrom<String> for TokenSource {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        match value.split_once(':') {
            None if value == "cache" => Ok(TokenSource::Cache),
            None if value == "none" => Ok(TokenSource::None),
            Some((_, "")) => Err("nothing follows the colon"),
            Some(("literal", token)) => Ok(TokenSource::Literal(token.to_owned())),
            Some(("env", name)) => Ok(TokenSource::Env(name.to_owned())),
            Some(("path", file)) => Ok(TokenSource::Path(PathBuf::from(file))),
            _ => Err("not a token source"),
        }
    }
}

impl From<TokenSource> for String {
    fn from(source: TokenSource) -> String {
        match source {
            TokenSource::Cache => "cache".to_owned(),
            TokenSource::None => "none".to_owned(),
            TokenSource::Literal(token) => format!("literal:{token}"),
            TokenSource::Env(name) => format!("env:{name}"),
            TokenSource::Path(file) => format!("path:{}", file.display()),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.masked())
    }
}
