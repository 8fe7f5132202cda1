//! `[sandbox]`: isolation of the code and commands a model runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;

/// Isolation of the code and commands a model runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// `auto` isolates where the system can, `on` fails where it cannot, `off` does not isolate.
    #[schemars(extend("x-flag" = "--sandbox"))]
    pub mode: SandboxMode,
    /// How much the tools may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--sandbox-profile", "x-default" = "developer with agent tools, else restricted"))]
    pub profile: Option<SandboxProfile>,
    /// Memory of a session in MiB.
    #[schemars(extend("x-flag" = "--sb-max-memory-mb"))]
    pub max_memory_mb: Bounded<1, 16_777_216, 2048>,
    /// CPU seconds of a session.
    #[schemars(extend("x-flag" = "--sb-max-cpu-secs"))]
    pub max_cpu_secs: Bounded<1, 31_536_000, 600>,
    /// Processes and threads of a session.
    #[schemars(extend("x-flag" = "--sb-max-procs"))]
    pub max_procs: Bounded<1, 1_048_576, 64>,
    /// What the tools may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--sandbox-network", "x-default" = "full for developer, loopback for restricted"))]
    pub network: Option<SandboxNetwork>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SandboxMode {
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SandboxProfile {
    Developer,
    Restricted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SandboxNetwork {
    None,
    Loopback,
    Full,
}
