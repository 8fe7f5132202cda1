//! What the engines know of themselves, read at each scrape: nothing is counted twice or kept here.

use std::fmt;

use ostro_engine::{EngineHealth, EngineStats, ModelInfo};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::histograms::ModelLabel;
use crate::models::Models;

/// One engine at one scrape.
struct Snapshot {
    label: ModelLabel,
    stats: EngineStats,
    info: ModelInfo,
}

type Read = fn(&Snapshot) -> f64;

/// A metric under one or more names.
struct Metric {
    names: &'static [&'static str],
    help: &'static str,
    kind: MetricType,
    read: Read,
}

const fn gauge(names: &'static [&'static str], help: &'static str, read: Read) -> Metric {
    Metric { names, help, kind: MetricType::Gauge, read }
}

const fn counter(names: &'static [&'static str], help: &'static str, read: Read) -> Metric {
    Metric { names, help, kind: MetricType::Counter, read }
}

const METRICS: &[Metric] = &[
    gauge(&["ostro_requests_running", "vllm:num_requests_running"], "Sequences in the batch", |s| {
        s.stats.sequences_running as f64
    }),
    gauge(&["ostro_requests_waiting", "vllm:num_requests_waiting"], "Sequences that wait for room", |s| {
        s.stats.sequences_waiting as f64
    }),
    gauge(&["ostro_kv_blocks_used"], "Cache blocks held by running sequences", |s| {
        s.stats.blocks_used as f64
    }),
    gauge(&["ostro_kv_blocks"], "Cache blocks", |s| s.stats.blocks as f64),
    gauge(&["ostro_kv_blocks_cached"], "Free cache blocks whose content a prefix hit can use", |s| {
        s.stats.blocks_cached as f64
    }),
    gauge(
        &["ostro_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"],
        "Used part of the cache, 0 to 1",
        |s| s.stats.blocks_used as f64 / (s.stats.blocks as f64).max(1.0),
    ),
    gauge(&["ostro_model_load_seconds"], "Time the model took to load", |s| s.info.load_seconds),
    gauge(&["ostro_model_weight_bytes"], "Memory of the packed weights", |s| s.info.weight_bytes as f64),
    gauge(&["ostro_kv_cache_bytes"], "Memory of the cache", |s| s.info.cache.bytes as f64),
    counter(&["ostro_prompt_tokens", "vllm:prompt_tokens"], "Prompt tokens, cached ones too", |s| {
        // Once each: what preempted sequences compute again is no more of the prompt.
        s.stats.prefix_queries_total as f64
    }),
    counter(&["ostro_generation_tokens", "vllm:generation_tokens"], "Tokens generated", |s| {
        s.stats.generated_tokens_total as f64
    }),
    counter(&["ostro_prefix_cache_queries", "vllm:prefix_cache_queries"], "Prompt tokens looked up", |s| {
        s.stats.prefix_queries_total as f64
    }),
    counter(
        &["ostro_prefix_cache_hits", "vllm:prefix_cache_hits"],
        "Prompt tokens found in the cache",
        |s| s.stats.prefix_hits_total as f64,
    ),
    counter(
        &["ostro_preemptions", "vllm:num_preemptions"],
        "Sequences that lost their blocks for a while",
        |s| s.stats.preemptions_total as f64,
    ),
    counter(
        &["ostro_draft_tokens", "vllm:spec_decode_num_draft_tokens"],
        "Tokens guessed by prompt lookup and computed",
        |s| s.stats.draft_tokens_total as f64,
    ),
    counter(
        &["ostro_draft_tokens_accepted", "vllm:spec_decode_num_accepted_tokens"],
        "Guessed tokens that were right",
        |s| s.stats.accepted_tokens_total as f64,
    ),
    counter(&["ostro_engine_steps"], "Steps", |s| s.stats.steps_total as f64),
    counter(
        &["ostro_engine_step_seconds"],
        "Time in steps, from taking requests to delivering tokens: all but waiting for work",
        |s| s.stats.step_seconds_total,
    ),
    counter(&["ostro_engine_forward_seconds"], "Time of steps in the model", |s| {
        s.stats.forward_seconds_total
    }),
    counter(
        &["ostro_engine_sample_seconds"],
        "Time of steps in sampling; what is left takes requests, schedules and delivers",
        |s| s.stats.sample_seconds_total,
    ),
];

/// How sequences ended, by vLLM's words.
const REASONS: [(&str, Read); 4] = [
    ("stop", |s| s.stats.finished_stop_total as f64),
    ("length", |s| s.stats.finished_length_total as f64),
    ("abort", |s| s.stats.cancelled_total as f64),
    ("error", |s| s.stats.failed_total as f64),
];

#[derive(Debug)]
pub(super) struct EngineCollector {
    models: Models,
}

impl EngineCollector {
    pub(super) fn new(models: Models) -> EngineCollector {
        EngineCollector { models }
    }
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshots: Vec<Snapshot> = self
            .models
            .iter()
            .filter_map(|model| {
                let engine = model.loaded()?.engine;
                let label = ModelLabel { model_name: model.id.to_string() };
                Some(Snapshot { label, stats: engine.stats(), info: engine.info().clone() })
            })
            .collect();
        for metric in METRICS {
            for name in metric.names {
                let mut family = encoder.encode_descriptor(name, metric.help, None, metric.kind)?;
                for snapshot in &snapshots {
                    let one = family.encode_family(&snapshot.label)?;
                    value(one, metric.kind, (metric.read)(snapshot))?;
                }
            }
        }
        finished(&mut encoder, &snapshots)?;
        loaded(&mut encoder, &self.models)?;
        device(&mut encoder, &snapshots)?;
        cache_config(&mut encoder, &snapshots)
    }
}

fn value(mut encoder: MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => encoder.encode_counter::<[(&str, &str); 0], _, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

fn finished(encoder: &mut DescriptorEncoder<'_>, snapshots: &[Snapshot]) -> fmt::Result {
    for name in ["ostro_sequences_finished", "vllm:request_success"] {
        let mut family =
            encoder.encode_descriptor(name, "Sequences ended, by reason", None, MetricType::Counter)?;
        for snapshot in snapshots {
            for (reason, read) in REASONS {
                let labels =
                    [("model_name", snapshot.label.model_name.as_str()), ("finished_reason", reason)];
                value(family.encode_family(&labels)?, MetricType::Counter, read(snapshot))?;
            }
        }
    }
    Ok(())
}

fn loaded(encoder: &mut DescriptorEncoder<'_>, models: &Models) -> fmt::Result {
    let help = "1 once the model can answer, 0 before, and after its engine has failed";
    let mut family = encoder.encode_descriptor("ostro_model_loaded", help, None, MetricType::Gauge)?;
    for model in models.iter() {
        let labels = [("model_name", model.id.as_ref())];
        let answers = model.loaded().is_some() && !model.is_broken();
        let loaded = if answers { 1.0 } else { 0.0 };
        value(family.encode_family(&labels)?, MetricType::Gauge, loaded)?;
    }
    Ok(())
}

/// Joins what is known of a model with what is known of its GPU, by the labels that each has too. An engine that failed
/// has left its device.
fn device(encoder: &mut DescriptorEncoder<'_>, snapshots: &[Snapshot]) -> fmt::Result {
    let help = "What a loaded model runs on: cuda with the uuid and name of its GPU, or cpu with the instruction set as \
                name and an empty uuid";
    let mut family = encoder.encode_descriptor("ostro_model_device", help, None, MetricType::Info)?;
    for Snapshot { label, stats, info } in snapshots {
        if matches!(stats.health, EngineHealth::Failed(_)) {
            continue;
        }
        let device = &info.device;
        let labels = [
            ("model_name", label.model_name.as_str()),
            ("device", device.kind.name()),
            ("uuid", device.uuid.as_deref().unwrap_or_default()),
            ("name", &device.name),
        ];
        family.encode_info(&labels)?;
    }
    Ok(())
}

/// As vLLM has it: the values are labels.
fn cache_config(encoder: &mut DescriptorEncoder<'_>, snapshots: &[Snapshot]) -> fmt::Result {
    let name = "vllm:cache_config_info";
    let mut family = encoder.encode_descriptor(name, "Form of the cache", None, MetricType::Gauge)?;
    for snapshot in snapshots {
        let cache = &snapshot.info.cache;
        let (size, blocks) = (cache.block_size.to_string(), cache.blocks.to_string());
        let model = snapshot.label.model_name.as_str();
        let labels = [("model_name", model), ("block_size", &size), ("num_gpu_blocks", &blocks)];
        value(family.encode_family(&labels)?, MetricType::Gauge, 1.0)?;
    }
    Ok(())
}
