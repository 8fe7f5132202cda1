//! `DaemonConfig`: everything the daemon can be told, as the TOML file nests it.
//!
//! Each key carries its documentation, default and bounds by its type, and in `extend` its flag (`x-flag`),
//! other names (`x-alias`), partners (`x-requires`: one of them must be set, `x-conflicts`: none may be) and the
//! one command it belongs to (`x-command`). `keys` reads them; nothing repeats them.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GlobalConfig, ModelConfig, PagedAttnConfig, RuntimeConfig, SandboxConfig, ServerConfig, Text};

/// The daemon's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonConfig {
    /// What to do with the models: answer HTTP clients, or chat in the terminal.
    pub command: Command,
    /// The `model_id` that answers requests naming no model, or `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-command" = "serve"))]
    pub default_model_id: Option<Text>,
    /// Force thinking on or off, for models that can; absent leaves it to the chat template.
    #[serde(skip_serializing_if = "Option::is_none", alias = "enable_thinking")]
    #[schemars(extend("x-flag" = "--thinking", "x-alias" = "enable_thinking", "x-command" = "run"))]
    pub thinking: Option<bool>,
    /// How much a model that can think does so; `xhigh` is `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--reasoning-effort", "x-command" = "run"))]
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Alias of the preloaded adapter that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--adapter", "x-command" = "run"))]
    pub adapter: Option<Text>,
    /// What concerns every command.
    pub global: GlobalConfig,
    /// How requests are run, for all models.
    pub runtime: RuntimeConfig,
    /// The HTTP server; `serve` only.
    pub server: ServerConfig,
    /// The memory that holds keys and values, for all models.
    pub paged_attn: PagedAttnConfig,
    /// Isolation of the code and commands a model runs.
    pub sandbox: SandboxConfig,
    /// The models to load, at least one.
    pub models: Vec<ModelConfig>,
}

impl DaemonConfig {
    /// The key whose chat template the model of this index has, and its file; `None` where the model's own is taken.
    pub fn template(&self, index: usize) -> Option<(String, &Path)> {
        let (model, runtime) = (self.models.get(index)?, &self.runtime);
        let of_model = |name| format!("models[{index}].{name}");
        let keys = [
            (of_model("jinja_explicit"), &model.jinja_explicit),
            ("runtime.jinja_explicit".to_owned(), &runtime.jinja_explicit),
            (of_model("chat_template"), &model.chat_template),
            ("runtime.chat_template".to_owned(), &runtime.chat_template),
        ];
        keys.into_iter().find_map(|(key, file)| Some((key, file.as_ref()?.as_path())))
    }
}

/// The command a configuration file is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Command {
    #[default]
    Serve,
    Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ReasoningEffort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}
