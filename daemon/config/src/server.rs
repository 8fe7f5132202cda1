//! `[server]`: the HTTP server of `ostro serve`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Bounded, Text};

/// The HTTP server; `serve` only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address to listen on; `::` stands for all, of IPv6 and of IPv4.
    #[schemars(extend("x-flag" = "--host", "x-command" = "serve"))]
    pub host: Host,
    /// TCP port to listen on; 0 takes a free one.
    #[schemars(extend("x-flag" = "-p, --port", "x-command" = "serve"))]
    pub port: Bounded<0, 65_535, 1234>,
    /// Serve no web page at `/ui`. There is none yet, so both values do the same.
    #[schemars(extend("x-flag" = "--no-ui", "x-command" = "serve"))]
    pub no_ui: bool,
    /// Also serve the model as an MCP server on this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--mcp-port", "x-command" = "serve"))]
    pub mcp_port: Option<Bounded<1, 65_535>>,
    /// Tool rounds of a request that names no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-tool-rounds", "x-default" = "256", "x-command" = "serve"))]
    pub max_tool_rounds: Option<Bounded<0, 256, 256>>,
    /// URL that tool calls are posted to, to run them on the server's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--tool-dispatch-url", "x-command" = "serve"))]
    pub tool_dispatch_url: Option<Text>,
    /// Write no access log.
    #[schemars(extend("x-flag" = "--disable-access-log", "x-command" = "serve"))]
    pub disable_access_log: bool,
    /// Form of the access log.
    #[schemars(extend("x-flag" = "--access-log-format", "x-command" = "serve"))]
    pub access_log_format: AccessLogFormat,
    /// Log requests for health, metrics and docs too.
    #[schemars(extend("x-flag" = "--access-log-health", "x-command" = "serve"))]
    pub access_log_health: bool,
    /// Send no `x-request-id` with answers.
    #[schemars(extend("x-flag" = "--disable-request-id-header", "x-command" = "serve"))]
    pub disable_request_id_header: bool,
    /// Record and serve no metrics.
    #[schemars(extend("x-flag" = "--disable-metrics", "x-command" = "serve"))]
    pub disable_metrics: bool,
}

/// A host name or IP address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(inline, extend("minLength" = 1, "maxLength" = 253, "x-allowed" = "a host name or IP address"))]
pub struct Host(String);

impl Host {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Host {
    fn default() -> Self {
        Host("0.0.0.0".to_owned())
    }
}

impl TryFrom<String> for Host {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, &'static str> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        match value {
            value if value.is_empty() || value.len() > 253 => Err("a host is 1 to 253 bytes long"),
            value if !value.chars().all(allowed) => Err("not a host name or IP address"),
            value => Ok(Host(value)),
        }
    }
}

impl From<Host> for String {
    fn from(value: Host) -> String {
        value.0
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AccessLogFormat {
    #[default]
    Text,
    Json,
}
