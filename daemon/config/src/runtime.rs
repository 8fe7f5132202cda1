//! `[runtime]`: how requests are run, for all models of the process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::{Bounded, FilePath, Text};

/// How requests are run, for all models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Sequences that run together; more wait.
    #[schemars(extend("x-flag" = "--max-seqs"))]
    pub max_seqs: Bounded<1, 65_536, 32>,
    /// Tokens of one step: one for each sequence that decodes, the rest from prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--max-num-batched-tokens", "x-default" = "what suits the device: 512 on CPU, 2048 on a GPU"))]
    pub max_num_batched_tokens: Option<Bounded<1, 65_536>>,
    /// Decode steps that may pass while a prompt waits. Steps mix prompts with decoding, so a prompt never waits
    /// for decode-only steps and every value holds.
    #[schemars(extend("x-flag" = "--max-decode-steps-before-prefill"))]
    pub max_decode_steps_before_prefill: Bounded<1, 1_048_576, 8>,
    /// Threads that compute, for each model on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--threads", "x-default" = "every CPU the process may use"))]
    pub threads: Option<Bounded<1, 1024>>,
    /// Disable the KV cache entirely.
    #[schemars(extend("x-flag" = "--no-kv-cache"))]
    pub no_kv_cache: bool,
    /// Prefixes the prefix cache keeps; 0 disables it.
    #[schemars(extend("x-flag" = "--prefix-cache-n"))]
    pub prefix_cache_n: Bounded<0, 1_048_576, 16>,
    /// Tokens that prompt lookup guesses for a step of few sequences, from what followed the same words before; 0
    /// guesses nothing. Right guesses save steps, wrong ones cost little, and neither changes an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--prompt-lookup-n", "x-default" = "what suits the device: 7 on CPU, 0 on a GPU, which takes no other; 0 in `ostro bench`"))]
    pub prompt_lookup_n: Option<Bounded<0, 64>>,
    /// Chat template file (.json or .jinja) of every model; a model's own `chat_template` overrides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-c, --chat-template"))]
    pub chat_template: Option<FilePath>,
    /// Jinja template file that overrides every other chat template; a model's own `jinja_explicit` overrides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "-j, --jinja-explicit"))]
    pub jinja_explicit: Option<FilePath>,
    /// MatFormer slice configuration (CSV or JSON).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--matformer-config-path"))]
    pub matformer_config_path: Option<FilePath>,
    /// MatFormer slice to load.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--matformer-slice-name", "x-requires" = ["runtime.matformer_config_path"]))]
    pub matformer_slice_name: Option<Text>,
    /// Speculate with the model's own multi-token prediction layers.
    #[schemars(extend("x-flag" = "--mtp", "x-conflicts" = ["runtime.mtp_model"]))]
    pub mtp: bool,
    /// Multi-token prediction assistant: a model id or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--mtp-model"))]
    pub mtp_model: Option<Text>,
    /// Tokens the assistant proposes for each step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--mtp-n-predict"))]
    pub mtp_n_predict: Option<Bounded<1, 64>>,
    /// Configuration (JSON) of the MCP servers whose tools models may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--mcp-config"))]
    pub mcp_config: Option<FilePath>,
    /// Short for `enable_search`, `enable_code_execution` and `enable_shell`.
    #[serde(alias = "agentic")]
    #[schemars(extend("x-flag" = "--agent, --agentic", "x-alias" = "agentic"))]
    pub agent: bool,
    /// The built-in web search tool.
    #[schemars(extend("x-flag" = "--enable-search"))]
    pub enable_search: bool,
    /// Model that ranks search results.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--search-embedding-model", "x-requires" = ["runtime.enable_search", "runtime.agent"]))]
    pub search_embedding_model: Option<SearchEmbeddingModel>,
    /// The built-in Python tool.
    #[schemars(extend("x-flag" = "--enable-code-execution"))]
    pub enable_code_execution: bool,
    /// Python interpreter of the Python tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--code-exec-python", "x-default" = "python3",
        "x-requires" = ["runtime.enable_code_execution", "runtime.agent"]))]
    pub code_exec_python: Option<Text>,
    /// Seconds one call of the Python tool may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--code-exec-timeout", "x-default" = "60",
        "x-requires" = ["runtime.enable_code_execution", "runtime.agent"]))]
    pub code_exec_timeout: Option<Bounded<1, 86_400, 60>>,
    /// Working directory of the Python tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--code-exec-workdir", "x-default" = "a temporary directory for each session",
        "x-requires" = ["runtime.enable_code_execution", "runtime.agent"]))]
    pub code_exec_workdir: Option<FilePath>,
    /// The built-in shell tool of the Responses API.
    #[schemars(extend("x-flag" = "--enable-shell"))]
    pub enable_shell: bool,
    /// Shell that the shell tool runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--shell-path", "x-default" = "/bin/sh",
        "x-requires" = ["runtime.enable_shell", "runtime.agent"]))]
    pub shell_path: Option<Text>,
    /// Seconds one call of the shell tool may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--shell-timeout", "x-default" = "600",
        "x-requires" = ["runtime.enable_shell", "runtime.agent"]))]
    pub shell_timeout: Option<Bounded<1, 86_400, 600>>,
    /// Directory that holds the sessions' shell working directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--shell-workdir", "x-default" = "a temporary directory for each session",
        "x-requires" = ["runtime.enable_shell", "runtime.agent"]))]
    pub shell_workdir: Option<FilePath>,
    /// Directory of uploaded skills.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-flag" = "--skills-dir", "x-default" = "the system's temporary directory",
        "x-requires" = ["runtime.enable_shell", "runtime.agent"]))]
    pub skills_dir: Option<FilePath>,
    /// Whether actions a model asks for run at once, need approval or are denied.
    #[serde(alias = "code_exec_permission")]
    #[schemars(extend("x-flag" = "--agent-permission, --code-exec-permission", "x-alias" = "code_exec_permission"))]
    pub agent_permission: AgentPermission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum SearchEmbeddingModel {
    EmbeddingGemma,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AgentPermission {
    #[default]
    Auto,
    Ask,
    Deny,
}
