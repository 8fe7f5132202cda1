//! What this build cannot do yet, by key. The structs are taken apart without `..`, so a new key does not compile
//! until it stands here, as served (`_`) or as refused.

use crate::keys::join;
use crate::models::{
    AdapterConfig, DeviceConfig, Dtype, FormatConfig, ModelKind, MultimodalConfig, QuantizationConfig,
    WeightFormat,
};
use crate::paged_attn::{CacheType, PagedAttnMode};
use crate::problem::Violation;
use crate::{
    DaemonConfig, GlobalConfig, ModelConfig, PagedAttnConfig, RuntimeConfig, SandboxConfig, ServerConfig,
};

const MESSAGE: &str = "is not supported by this build";

impl DaemonConfig {
    /// The keys whose value asks for something this build does not do.
    pub fn unsupported(&self) -> Vec<Violation> {
        let DaemonConfig {
            command: _,
            default_model_id: _,
            thinking: _,
            reasoning_effort: _,
            adapter,
            global: GlobalConfig { seed: _, log: _, token_source: _ },
            runtime,
            server,
            paged_attn,
            sandbox,
            models,
        } = self;
        let mut violations = Vec::new();
        let mut refused = Refused { table: "", violations: &mut violations };
        refused.set("adapter", adapter);
        refuse_runtime(refused.at("runtime"), runtime);
        refuse_server(refused.at("server"), server);
        refuse_paged_attn(refused.at("paged_attn"), paged_attn);
        refuse_sandbox(refused.at("sandbox"), sandbox);
        for (index, model) in models.iter().enumerate() {
            refuse_model(refused.at(&format!("models[{index}]")), model);
        }
        violations
    }
}

fn refuse_runtime(mut refused: Refused<'_>, runtime: &RuntimeConfig) {
    let RuntimeConfig {
        max_seqs: _,
        max_num_batched_tokens: _,
        max_decode_steps_before_prefill: _,
        threads: _,
        no_kv_cache,
        prefix_cache_n: _,
        prompt_lookup_n: _,
        chat_template: _,
        jinja_explicit: _,
        matformer_config_path,
        matformer_slice_name,
        mtp,
        mtp_model,
        mtp_n_predict,
        mcp_config,
        agent,
        enable_search,
        search_embedding_model,
        enable_code_execution,
        code_exec_python,
        code_exec_timeout,
        code_exec_workdir,
        enable_shell,
        shell_path,
        shell_timeout,
        shell_workdir,
        skills_dir,
        agent_permission,
    } = runtime;
    refused.set("no_kv_cache", no_kv_cache);
    refused.set("matformer_config_path", matformer_config_path);
    refused.set("matformer_slice_name", matformer_slice_name);
    refused.set("mtp", mtp);
    refused.set("mtp_model", mtp_model);
    refused.set("mtp_n_predict", mtp_n_predict);
    refused.set("mcp_config", mcp_config);
    refused.set("agent", agent);
    refused.set("enable_search", enable_search);
    refused.set("search_embedding_model", search_embedding_model);
    refused.set("enable_code_execution", enable_code_execution);
    refused.set("code_exec_python", code_exec_python);
    refused.set("code_exec_timeout", code_exec_timeout);
    refused.set("code_exec_workdir", code_exec_workdir);
    refused.set("enable_shell", enable_shell);
    refused.set("shell_path", shell_path);
    refused.set("shell_timeout", shell_timeout);
    refused.set("shell_workdir", shell_workdir);
    refused.set("skills_dir", skills_dir);
    refused.set("agent_permission", agent_permission);
}

fn refuse_server(mut refused: Refused<'_>, server: &ServerConfig) {
    let ServerConfig {
        host: _,
        port: _,
        no_ui: _,
        mcp_port,
        max_tool_rounds,
        tool_dispatch_url,
        disable_access_log: _,
        access_log_format: _,
        access_log_health: _,
        disable_request_id_header: _,
        disable_metrics: _,
    } = server;
    refused.set("mcp_port", mcp_port);
    refused.set("max_tool_rounds", max_tool_rounds);
    refused.set("tool_dispatch_url", tool_dispatch_url);
}

fn refuse_paged_attn(mut refused: Refused<'_>, paged_attn: &PagedAttnConfig) {
    let PagedAttnConfig { mode, context_len: _, memory_mb: _, memory_fraction: _, block_size, cache_type } =
        paged_attn;
    // The cache is always paged: there is no second attention path to fall back to.
    refused.when("mode", *mode == PagedAttnMode::Off);
    refused.when("block_size", block_size.is_some_and(|size| size.get() == 8));
    refused.when("cache_type", *cache_type == CacheType::F8e4m3);
}

fn refuse_sandbox(mut refused: Refused<'_>, sandbox: &SandboxConfig) {
    let SandboxConfig { mode, profile, max_memory_mb, max_cpu_secs, max_procs, network } = sandbox;
    refused.set("mode", mode);
    refused.set("profile", profile);
    refused.set("max_memory_mb", max_memory_mb);
    refused.set("max_cpu_secs", max_cpu_secs);
    refused.set("max_procs", max_procs);
    refused.set("network", network);
}

fn refuse_model(mut refused: Refused<'_>, model: &ModelConfig) {
    let ModelConfig {
        model_id: _,
        hf_revision: _,
        kind,
        tokenizer: _,
        arch,
        dtype,
        chat_template: _,
        jinja_explicit: _,
        matformer_config_path,
        matformer_slice_name,
        format,
        adapter,
        quantization,
        device,
        multimodal,
    } = model;
    refused.when("kind", !matches!(kind, ModelKind::Auto | ModelKind::Text));
    refused.set("arch", arch);
    refused.when("dtype", !matches!(dtype, Dtype::Auto | Dtype::F32));
    refused.set("matformer_config_path", matformer_config_path);
    refused.set("matformer_slice_name", matformer_slice_name);
    let path = refused.table;
    refuse_format(refused.at(&join(path, "format")), format);
    refuse_adapter(refused.at(&join(path, "adapter")), adapter);
    refuse_quantization(refused.at(&join(path, "quantization")), quantization);
    refuse_device(refused.at(&join(path, "device")), device);
    refuse_multimodal(refused.at(&join(path, "multimodal")), multimodal);
}

fn refuse_format(mut refused: Refused<'_>, format: &FormatConfig) {
    let FormatConfig { format, quantized_file, mmproj, tok_model_id, gqa } = format;
    refused.when("format", *format == Some(WeightFormat::Ggml));
    refused.when("quantized_file", quantized_file.as_ref().is_some_and(|file| file.as_str().contains(';')));
    refused.set("mmproj", mmproj);
    refused.set("tok_model_id", tok_model_id);
    refused.set("gqa", gqa);
}

fn refuse_adapter(mut refused: Refused<'_>, adapter: &AdapterConfig) {
    let AdapterConfig {
        enable_lora,
        lora,
        lora_max_adapters,
        lora_max_rank,
        lora_max_bytes,
        legacy_lora,
        legacy_lora_order,
        xlora,
        xlora_order,
        tgt_non_granular_index,
    } = adapter;
    refused.set("enable_lora", enable_lora);
    refused.set("lora", lora);
    refused.set("lora_max_adapters", lora_max_adapters);
    refused.set("lora_max_rank", lora_max_rank);
    refused.set("lora_max_bytes", lora_max_bytes);
    refused.set("legacy_lora", legacy_lora);
    refused.set("legacy_lora_order", legacy_lora_order);
    refused.set("xlora", xlora);
    refused.set("xlora_order", xlora_order);
    refused.set("tgt_non_granular_index", tgt_non_granular_index);
}

fn refuse_quantization(mut refused: Refused<'_>, quantization: &QuantizationConfig) {
    let QuantizationConfig { quant, isq, from_uqff, isq_organization, imatrix, calibration_file } =
        quantization;
    refused.set("quant", quant);
    refused.set("isq", isq);
    refused.set("from_uqff", from_uqff);
    refused.set("isq_organization", isq_organization);
    refused.set("imatrix", imatrix);
    refused.set("calibration_file", calibration_file);
}

fn refuse_device(mut refused: Refused<'_>, device: &DeviceConfig) {
    let DeviceConfig { cpu, device_layers, topology, hf_cache: _, max_seq_len: _, max_batch_size: _ } =
        device;
    refused.when("cpu", *cpu == Some(false));
    refused.set("device_layers", device_layers);
    refused.set("topology", topology);
}

fn refuse_multimodal(mut refused: Refused<'_>, multimodal: &MultimodalConfig) {
    let MultimodalConfig { max_edge, max_num_images, max_image_length } = multimodal;
    refused.set("max_edge", max_edge);
    refused.set("max_num_images", max_num_images);
    refused.set("max_image_length", max_image_length);
}

/// Collects violations in one table.
struct Refused<'a> {
    table: &'a str,
    violations: &'a mut Vec<Violation>,
}

impl Refused<'_> {
    fn at<'b>(&'b mut self, table: &'b str) -> Refused<'b> {
        Refused { table, violations: self.violations }
    }

    /// Refuses every value but the default.
    fn set<T: Default + PartialEq>(&mut self, name: &str, value: &T) {
        self.when(name, *value != T::default());
    }

    fn when(&mut self, name: &str, refused: bool) {
        if refused {
            self.violations.push(Violation::new(join(self.table, name), MESSAGE));
        }
    }
}
