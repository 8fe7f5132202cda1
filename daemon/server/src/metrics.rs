//! Prometheus metrics: what the server observes of requests, and what the engines and GPUs report of themselves.
//!
//! Every family is registered under Ostro's name and, where autoscalers and gateways already read one, also under
//! vLLM's; both show the same numbers. Labels are bounded: routes as patterns, models as the ledger names them.

mod engine;
mod gpu;
mod histograms;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ostro_exposition::Exposition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::models::Models;
use gpu::GpuReader;

pub use histograms::{Latencies, ModelLabel, Observer};

const DURATION_BUCKETS: [f64; 18] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1200.0,
];
const BODY_BUCKETS: [f64; 12] = [
    128.0,
    512.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262144.0,
    1048576.0,
    4194304.0,
    16777216.0,
    52428800.0,
    104857600.0,
];

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub http: HttpMetrics,
    pub latencies: Latencies,
    pub rejections: Family<RejectionLabels, Counter>,
    /// Of requests that no other family has.
    pub heads_refused: Family<HeadLabels, Counter>,
    /// Entries that the payload log lost because its file was too slow.
    pub payload_log_dropped: Counter,
    gpus: Option<GpuReader>,
    registry: Arc<Registry>,
}

#[derive(Clone, Debug)]
pub struct HttpMetrics {
    pub requests: Family<RequestLabels, Counter>,
    pub seconds: Family<RequestLabels, Histogram, fn() -> Histogram>,
    pub in_flight: Family<RouteLabels, Gauge<u64, AtomicU64>>,
    pub body_bytes: Family<RouteLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub method: &'static str,
    pub path: String,
    pub model: String,
    pub model_name: String,
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub method: &'static str,
    pub path: String,
    pub model: String,
    pub model_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RejectionLabels {
    pub model_name: String,
    /// `queue_full`, `body_memory`, `loading`, `shutting_down` or `load_failed`.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HeadLabels {
    /// `malformed` or `too_large`.
    pub reason: &'static str,
}

impl Metrics {
    /// With the GPUs that the library of NVIDIA (`RouterOptions::nvml_library`) shows, if one is named and loads.
    pub fn new(models: &Models, nvml_library: Option<&Path>) -> Metrics {
        let http = HttpMetrics {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Family::default(),
            body_bytes: Family::new_with_constructor(|| Histogram::new(BODY_BUCKETS)),
        };
        let mut registry = Registry::default();
        registry.register("http_requests", "Requests answered, streams when they end", http.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Until the whole answer was sent",
            http.seconds.clone(),
        );
        registry.register("http_requests_in_flight", "Requests being answered", http.in_flight.clone());
        registry.register("http_request_body_bytes", "Sizes of request bodies", http.body_bytes.clone());
        let latencies = Latencies::new(&mut registry);
        let rejections = Family::default();
        registry.register(
            "ostro_admission_rejections",
            "Requests refused before any work",
            rejections.clone(),
        );
        registry.register(
            "vllm:admission_rejections",
            "Requests refused before any work",
            rejections.clone(),
        );
        let heads_refused = Family::default();
        registry.register(
            "ostro_http_heads_refused",
            "Requests of HTTP/1 refused for their heads",
            heads_refused.clone(),
        );
        let payload_log_dropped = Counter::default();
        registry.register(
            "ostro_payload_log_dropped",
            "Entries the payload log lost",
            payload_log_dropped.clone(),
        );
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)]);
        registry.register("ostro_build", "This build", build);
        registry.register_collector(Box::new(engine::EngineCollector::new(models.clone())));
        let gpus = nvml_library.map(|library| gpu::register(library, &mut registry));
        let registry = Arc::new(registry);
        Metrics { http, latencies, rejections, heads_refused, payload_log_dropped, gpus, registry }
    }

    /// The text that a scraper reads, after at most a second for the GPUs.
    pub async fn expose(&self, exposition: Exposition) -> String {
        if let Some(gpus) = &self.gpus {
            gpus.refresh().await;
        }
        exposition.write(&self.registry)
    }

    pub fn reject(&self, model: &str, reason: &'static str) {
        self.rejections.get_or_create(&RejectionLabels { model_name: model.to_owned(), reason }).inc();
    }
}
