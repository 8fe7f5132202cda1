//! Times and sizes of finished sequences, by model.
//!
//! Buckets are vLLM's (vllm/v1/metrics/buckets.py), so that dashboards made for it read these, and shorter ones: small
//! models take 1 to 9 ms a token.

use ostro_engine::request::Usage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const FIRST_TOKEN_BUCKETS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_BUCKETS: [f64; 22] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0,
];
const REQUEST_BUCKETS: [f64; 24] = [
    0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
    120.0, 240.0, 480.0, 960.0, 1920.0,
];
const COUNT_BUCKETS: [f64; 18] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabel {
    pub model_name: String,
}

type ByModel = Family<ModelLabel, Histogram, fn() -> Histogram>;

/// Histograms by model.
#[derive(Clone, Debug)]
pub struct Latencies {
    first_token: ByModel,
    between_tokens: ByModel,
    per_token: ByModel,
    queue: ByModel,
    prefill: ByModel,
    decode: ByModel,
    whole: ByModel,
    prompt_tokens: ByModel,
    generation_tokens: ByModel,
}

impl Latencies {
    pub(super) fn new(registry: &mut Registry) -> Latencies {
        let mut family = |own: &str, vllm: &str, help: &str, new: fn() -> Histogram| {
            let family = ByModel::new_with_constructor(new);
            registry.register(format!("ostro_{own}"), help, family.clone());
            registry.register(format!("vllm:{vllm}"), help, family.clone());
            family
        };
        let request: fn() -> Histogram = || Histogram::new(REQUEST_BUCKETS);
        let count: fn() -> Histogram = || Histogram::new(COUNT_BUCKETS);
        let token: fn() -> Histogram = || Histogram::new(TOKEN_BUCKETS);
        let first: fn() -> Histogram = || Histogram::new(FIRST_TOKEN_BUCKETS);
        let to_first = "From the request's arrival to its first token";
        Latencies {
            first_token: family(
                "time_to_first_token_seconds",
                "time_to_first_token_seconds",
                to_first,
                first,
            ),
            between_tokens: family(
                "inter_token_latency_seconds",
                "inter_token_latency_seconds",
                "From one token to the next of a sequence, as its reader gets them",
                token,
            ),
            per_token: family(
                "time_per_output_token_seconds",
                "request_time_per_output_token_seconds",
                "Mean time of the tokens of a sequence after its first, in the engine",
                token,
            ),
            queue: family(
                "queue_seconds",
                "request_queue_time_seconds",
                "Waiting for the first step",
                request,
            ),
            prefill: family(
                "prefill_seconds",
                "request_prefill_time_seconds",
                "First step to first token",
                request,
            ),
            decode: family("decode_seconds", "request_decode_time_seconds", "First token to last", request),
            whole: family("request_seconds", "e2e_request_latency_seconds", "Arrival to last token", request),
            prompt_tokens: family(
                "request_prompt_tokens",
                "request_prompt_tokens",
                "Tokens of a prompt",
                count,
            ),
            generation_tokens: family(
                "request_generation_tokens",
                "request_generation_tokens",
                "Tokens generated for a sequence",
                count,
            ),
        }
    }

    /// The observer of one model, without further look-ups.
    pub fn of(&self, model: &str) -> Observer {
        let label = ModelLabel { model_name: model.to_owned() };
        let of = |family: &ByModel| family.get_or_create_owned(&label);
        Observer {
            first_token: of(&self.first_token),
            between_tokens: of(&self.between_tokens),
            per_token: of(&self.per_token),
            queue: of(&self.queue),
            prefill: of(&self.prefill),
            decode: of(&self.decode),
            whole: of(&self.whole),
            prompt_tokens: of(&self.prompt_tokens),
            generation_tokens: of(&self.generation_tokens),
        }
    }
}

/// Observes the sequences of one model.
#[derive(Clone, Debug)]
pub struct Observer {
    first_token: Histogram,
    between_tokens: Histogram,
    per_token: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    whole: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
}

impl Observer {
    /// Seconds since the request's arrival.
    pub fn first_token(&self, seconds: f64) {
        self.first_token.observe(seconds);
    }

    /// Seconds since the sequence's token before.
    pub fn next_token(&self, seconds: f64) {
        self.between_tokens.observe(seconds);
    }

    /// A sequence that ran to its end, `seconds` after its request's arrival.
    pub fn finished(&self, usage: &Usage, seconds: f64) {
        self.queue.observe(usage.queue_seconds);
        self.prefill.observe(usage.prefill_seconds);
        self.decode.observe(usage.decode_seconds);
        if usage.completion_tokens > 1 {
            self.per_token.observe(usage.decode_seconds / f64::from(usage.completion_tokens - 1));
        }
        self.whole.observe(seconds);
        self.prompt_tokens.observe(f64::from(usage.prompt_tokens));
        self.generation_tokens.observe(f64::from(usage.completion_tokens));
    }
}
