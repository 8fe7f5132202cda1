//! The one place that turns a configuration into the options of engine and server. Everything is taken apart without
//! `..`, so a new key does not compile until it is handled here. Keys marked `_` are refused before (`unsupported`)
//! or say why they need nothing.

use std::path::PathBuf;
use std::sync::Arc;

use ostro_config::{
    Command, DaemonConfig, DeviceConfig, FormatConfig, GlobalConfig, Loaded, ModelConfig, PagedAttnConfig,
    ReasoningEffort, RuntimeConfig, ServerConfig, TokenSource, WeightFormat,
};
use ostro_engine::memory::MemoryLedger;
use ostro_engine::text::TextOverrides;
use ostro_engine::{CacheOptions, CacheSize, CacheType, DeviceChoice, EngineOptions, Isa, ScheduleOptions};
use ostro_server::access_log::AccessLogFormat;
use ostro_server::{RouterOptions, ServerOptions};

use crate::refusal::Origins;

/// What to do, in the terms of engine and server.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) command: Command,
    pub(crate) models: Vec<ModelPlan>,
    pub(crate) default_model: Option<String>,
    pub(crate) server: ServerOptions,
    pub(crate) access_log: AccessLogFormat,
    pub(crate) chat: ChatPlan,
    pub(crate) token_source: TokenSource,
}

/// One model to find and load.
#[derive(Clone, Debug)]
pub(crate) struct ModelPlan {
    /// A path or a hub id; the name clients use.
    pub(crate) id: String,
    /// Where a relative path is meant from, if not from the working directory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) revision: Option<String>,
    pub(crate) format: Option<WeightFormat>,
    /// The file in the model's directory or repository.
    pub(crate) file: Option<String>,
    pub(crate) hub_cache: Option<PathBuf>,
    /// Complete but for the path of the model.
    pub(crate) engine: EngineOptions,
    /// Seed of requests that bring none.
    pub(crate) seed: Option<u64>,
    pub(crate) origins: Origins,
}

/// What `ostro run` needs beside the model.
#[derive(Clone, Debug)]
pub(crate) struct ChatPlan {
    pub(crate) thinking: Option<bool>,
    pub(crate) reasoning_effort: Option<&'static str>,
}

/// Settings that concern all models alike.
struct Shared {
    loaded: Arc<Loaded>,
    seed: Option<u64>,
    isa: Option<Isa>,
    device: DeviceChoice,
    models: u64,
    memory: MemoryLedger,
    runtime: RuntimeConfig,
    paged_attn: PagedAttnConfig,
}

/// `device` is that of models which are not told to run on the CPU.
pub(crate) fn plan(loaded: Loaded, isa: Option<Isa>, device: DeviceChoice) -> Plan {
    let DaemonConfig {
        command,
        default_model_id,
        thinking,
        reasoning_effort,
        adapter: _,
        global: GlobalConfig { seed, log, token_source },
        runtime,
        server,
        paged_attn,
        sandbox: _,
        models,
    } = loaded.config.clone();
    let seed = seed.map(|seed| seed.get());
    let loaded = Arc::new(loaded);
    let (models_count, memory) = (models.len() as u64, MemoryLedger::default());
    let shared = Shared { loaded, seed, isa, device, models: models_count, memory, runtime, paged_attn };
    let (server, access_log) = server_options(server, log.map(PathBuf::from));
    Plan {
        command,
        models: models
            .into_iter()
            .enumerate()
            .map(|(index, model)| model_plan(index, model, &shared))
            .collect(),
        default_model: default_model_id.map(String::from),
        server,
        access_log,
        chat: ChatPlan { thinking, reasoning_effort: reasoning_effort.map(effort) },
        token_source,
    }
}

fn effort(effort: ReasoningEffort) -> &'static str {
    match effort {
        ReasoningEffort::None => "none",
        ReasoningEffort::Minimal => "minimal",
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
        ReasoningEffort::Xhigh | ReasoningEffort::Max => "max",
    }
}

fn server_options(server: ServerConfig, log: Option<PathBuf>) -> (ServerOptions, AccessLogFormat) {
    let ServerConfig {
        host,
        port,
        // There is no web page to leave out.
        no_ui: _,
        mcp_port: _,
        max_tool_rounds: _,
        tool_dispatch_url: _,
        disable_access_log,
        access_log_format,
        access_log_health,
        disable_request_id_header,
        disable_metrics,
    } = server;
    let router = RouterOptions {
        access_log: !disable_access_log,
        access_log_health,
        request_id_header: !disable_request_id_header,
        metrics: !disable_metrics,
        payload_log: log,
        ..RouterOptions::default()
    };
    let port = u16::try_from(port.get()).expect("the key's bounds are those of a port");
    let options = ServerOptions { host: host.as_str().to_owned(), port, router, ..ServerOptions::default() };
    let format = match access_log_format {
        ostro_config::AccessLogFormat::Text => AccessLogFormat::Text,
        ostro_config::AccessLogFormat::Json => AccessLogFormat::Json,
    };
    (options, format)
}

fn model_plan(index: usize, model: ModelConfig, shared: &Shared) -> ModelPlan {
    let ModelConfig {
        model_id,
        hf_revision,
        // `auto` or `text`: the same loader.
        kind: _,
        tokenizer,
        arch: _,
        // `auto` or `f32`: what the engine computes in.
        dtype: _,
        chat_template,
        jinja_explicit,
        matformer_config_path: _,
        matformer_slice_name: _,
        format: FormatConfig { format, quantized_file, mmproj: _, tok_model_id: _, gqa: _ },
        adapter: _,
        quantization: _,
        device,
        multimodal: _,
    } = model;
    let DeviceConfig { cpu, device_layers: _, topology: _, hf_cache, max_seq_len, max_batch_size } = device;
    let runtime = runtime_options(&shared.runtime, max_batch_size.map(|size| size.as_usize()));
    let text = TextOverrides {
        tokenizer: tokenizer.map(PathBuf::from),
        chat_template: chat_template.map(PathBuf::from).or(runtime.chat_template),
        jinja_explicit: jinja_explicit.map(PathBuf::from).or(runtime.jinja_explicit),
    };
    let engine = EngineOptions {
        model: PathBuf::new(),
        text,
        threads: runtime.threads,
        isa: shared.isa,
        device: if cpu == Some(true) { DeviceChoice::Cpu } else { shared.device },
        cache: cache_options(&shared.paged_attn, shared.models),
        context_len: max_seq_len
            .map(|tokens| u32::try_from(tokens.get()).expect("the key's bounds are those of a u32")),
        schedule: runtime.schedule,
        // Their files are looked for when this one is loaded.
        later: Vec::new(),
        memory: shared.memory.clone(),
    };
    ModelPlan {
        id: model_id.into(),
        folder: shared.loaded.folder(&format!("models[{index}].model_id")),
        revision: hf_revision.map(String::from),
        format,
        file: quantized_file.map(String::from),
        hub_cache: hf_cache.map(PathBuf::from),
        engine,
        seed: shared.seed,
        origins: Origins::new(Arc::clone(&shared.loaded), index),
    }
}

struct RuntimeOptions {
    threads: Option<usize>,
    chat_template: Option<PathBuf>,
    jinja_explicit: Option<PathBuf>,
    schedule: ScheduleOptions,
}

fn runtime_options(runtime: &RuntimeConfig, batch_max: Option<usize>) -> RuntimeOptions {
    let RuntimeConfig {
        max_seqs,
        max_num_batched_tokens,
        // Steps mix prompts with decoding: a prompt never waits for decode-only steps.
        max_decode_steps_before_prefill: _,
        threads,
        no_kv_cache: _,
        prefix_cache_n,
        prompt_lookup_n,
        chat_template,
        jinja_explicit,
        matformer_config_path: _,
        matformer_slice_name: _,
        mtp: _,
        mtp_model: _,
        mtp_n_predict: _,
        mcp_config: _,
        agent: _,
        enable_search: _,
        search_embedding_model: _,
        enable_code_execution: _,
        code_exec_python: _,
        code_exec_timeout: _,
        code_exec_workdir: _,
        enable_shell: _,
        shell_path: _,
        shell_timeout: _,
        shell_workdir: _,
        skills_dir: _,
        agent_permission: _,
    } = runtime;
    let standard = ScheduleOptions::default();
    let tokens_per_step = max_num_batched_tokens.map(|tokens| tokens.as_usize());
    RuntimeOptions {
        threads: threads.map(|threads| threads.as_usize()),
        chat_template: chat_template.clone().map(PathBuf::from),
        jinja_explicit: jinja_explicit.clone().map(PathBuf::from),
        schedule: ScheduleOptions {
            sequences_max: batch_max.unwrap_or(usize::MAX).min(max_seqs.as_usize()),
            tokens_per_step,
            prefix_cache_n: prefix_cache_n.as_usize(),
            prompt_lookup_n: prompt_lookup_n.map(|tokens| tokens.as_usize()),
            ..standard
        },
    }
}

/// Memory is shared evenly by the models.
fn cache_options(paged_attn: &PagedAttnConfig, models: u64) -> CacheOptions {
    let PagedAttnConfig { mode: _, context_len, memory_mb, memory_fraction, block_size, cache_type } =
        paged_attn;
    let standard = CacheOptions::default();
    let models = models.max(1);
    let size = match (context_len, memory_mb, memory_fraction) {
        (Some(tokens), _, _) => CacheSize::ContextLen(tokens.get()),
        (None, Some(megabytes), _) => CacheSize::Megabytes((megabytes.get() / models).max(1)),
        (None, None, Some(fraction)) => CacheSize::MemoryFraction((fraction.get() / models as f64) as f32),
        (None, None, None) => standard.size,
    };
    let cache_type = match cache_type {
        ostro_config::CacheType::Auto | ostro_config::CacheType::F8e4m3 => standard.cache_type,
        ostro_config::CacheType::F32 => CacheType::F32,
        ostro_config::CacheType::F16 => CacheType::F16,
        ostro_config::CacheType::Bf16 => CacheType::Bf16,
    };
    CacheOptions { cache_type, block_size: block_size.map_or(standard.block_size, |size| size.get()), size }
}

#[cfg(test)]
mod tests;
