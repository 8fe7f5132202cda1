//! The one place that turns a configuration into the options of engine and server. Everything is taken apart without
//! `..`, so a new key does not compile until it is handled here. Keys marked `_` are refused before (`unsupported`)
//! or say why they need nothing.

use std::path::PathBuf;

use ostro_config::{
    Command, DaemonConfig, DeviceConfig, FormatConfig, GlobalConfig, ModelConfig, PagedAttnConfig,
    ReasoningEffort, RuntimeConfig, ServerConfig, TokenSource, WeightFormat,
};
use ostro_engine::text::TextOverrides;
use ostro_engine::{CacheOptions, CacheSize, CacheType, EngineOptions, Isa, ScheduleOptions};
use ostro_server::access_log::AccessLogFormat;
use ostro_server::{RouterOptions, ServerOptions};

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
    pub(crate) revision: Option<String>,
    pub(crate) format: Option<WeightFormat>,
    /// The file in the model's directory or repository.
    pub(crate) file: Option<String>,
    pub(crate) hub_cache: Option<PathBuf>,
    /// Complete but for the path of the model.
    pub(crate) engine: EngineOptions,
    /// Seed of requests that bring none.
    pub(crate) seed: Option<u64>,
}

/// What `ostro run` needs beside the model.
#[derive(Clone, Debug)]
pub(crate) struct ChatPlan {
    pub(crate) thinking: Option<bool>,
    pub(crate) reasoning_effort: Option<&'static str>,
}

/// Settings that concern all models alike.
struct Shared {
    seed: Option<u64>,
    isa: Option<Isa>,
    models: u64,
    runtime: RuntimeConfig,
    paged_attn: PagedAttnConfig,
}

pub(crate) fn plan(config: DaemonConfig, isa: Option<Isa>) -> Plan {
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
    } = config;
    let seed = seed.map(|seed| seed.get());
    let shared = Shared { seed, isa, models: models.len() as u64, runtime, paged_attn };
    let (server, access_log) = server_options(server, log);
    Plan {
        command,
        models: models.into_iter().map(|model| model_plan(model, &shared)).collect(),
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
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
        ReasoningEffort::Max => "max",
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

fn model_plan(model: ModelConfig, shared: &Shared) -> ModelPlan {
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
    let DeviceConfig { cpu: _, device_layers: _, topology: _, hf_cache, max_seq_len, max_batch_size } =
        device;
    let runtime = runtime_options(&shared.runtime, max_batch_size.map(|size| size.as_usize()));
    let text = TextOverrides {
        tokenizer,
        chat_template: chat_template.or(runtime.chat_template),
        jinja_explicit: jinja_explicit.or(runtime.jinja_explicit),
    };
    let engine = EngineOptions {
        model: PathBuf::new(),
        text,
        threads: runtime.threads,
        isa: shared.isa,
        cache: cache_options(&shared.paged_attn, shared.models),
        context_len: max_seq_len.map(|tokens| u32::try_from(tokens.get()).unwrap_or(u32::MAX)),
        schedule: runtime.schedule,
    };
    ModelPlan {
        id: model_id.into(),
        revision: hf_revision.map(String::from),
        format,
        file: quantized_file.map(String::from),
        hub_cache: hf_cache,
        engine,
        seed: shared.seed,
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
    let tokens_per_step = max_num_batched_tokens.map_or(standard.tokens_per_step, |tokens| tokens.as_usize());
    RuntimeOptions {
        threads: threads.map(|threads| threads.as_usize()),
        chat_template: chat_template.clone(),
        jinja_explicit: jinja_explicit.clone(),
        schedule: ScheduleOptions {
            sequences_max: batch_max.unwrap_or(usize::MAX).min(max_seqs.as_usize()),
            tokens_per_step,
            prompt_tokens_beside_decode: standard.prompt_tokens_beside_decode.min(tokens_per_step),
            prefix_cache_n: prefix_cache_n.as_usize(),
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
mod tests {
    use ostro_config::Loaded;

    use super::*;

    fn plan_of(text: &str) -> Plan {
        plan(Loaded::from_toml("a.toml", text).unwrap().config, None)
    }

    #[test]
    fn defaults_are_the_engines_own() {
        let plan = plan_of("[[models]]\nmodel_id = \"m\"\n");
        let engine = &plan.models[0].engine;
        assert_eq!(engine.schedule, ScheduleOptions::default());
        assert_eq!(engine.cache, CacheOptions::default());
        assert_eq!((engine.threads, engine.context_len), (None, None));
        assert_eq!((plan.server.host.as_str(), plan.server.port), ("0.0.0.0", 1234));
    }

    #[test]
    fn keys_reach_their_option() {
        let plan = plan_of(
            "[runtime]\nmax_seqs = 8\nmax_num_batched_tokens = 64\nprefix_cache_n = 0\nthreads = 3\n\
             chat_template = \"all.jinja\"\n[paged_attn]\nmemory_mb = 100\nblock_size = 16\ncache_type = \"bf16\"\n\
             [server]\nport = 0\ndisable_metrics = true\naccess_log_format = \"json\"\n[global]\nseed = 7\n\
             [[models]]\nmodel_id = \"m\"\nchat_template = \"own.jinja\"\n\
             device = { max_seq_len = 512, max_batch_size = 2 }\n\
             [[models]]\nmodel_id = \"n\"\nhf_revision = \"v1\"\nformat.quantized_file = \"q.gguf\"\n",
        );
        let [m, n] = plan.models.as_slice() else { panic!("two models") };
        assert_eq!((m.engine.schedule.sequences_max, n.engine.schedule.sequences_max), (2, 8));
        assert_eq!(
            (m.engine.schedule.tokens_per_step, m.engine.schedule.prompt_tokens_beside_decode),
            (64, 64)
        );
        assert_eq!((m.engine.schedule.prefix_cache_n, m.engine.threads), (0, Some(3)));
        assert_eq!((m.engine.context_len, n.engine.context_len), (Some(512), None));
        assert_eq!(m.engine.text.chat_template, Some(PathBuf::from("own.jinja")));
        assert_eq!(n.engine.text.chat_template, Some(PathBuf::from("all.jinja")));
        let cache =
            CacheOptions { cache_type: CacheType::Bf16, block_size: 16, size: CacheSize::Megabytes(50) };
        assert_eq!(m.engine.cache, cache);
        assert_eq!((n.revision.as_deref(), n.file.as_deref(), n.seed), (Some("v1"), Some("q.gguf"), Some(7)));
        assert!(!plan.server.router.metrics && plan.server.router.access_log);
        assert_eq!(plan.access_log, AccessLogFormat::Json);
    }
}
