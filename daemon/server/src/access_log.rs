//! The access log: one line when a request begins and one when it ends, as `tracing` events of their own target.
//!
//! A subscriber decides where they go; [`layer`] prints them as text or as one JSON object a line.

use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::openai::usage::Usage;

/// The target of all access log events.
pub const TARGET: &str = "ostro::access";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Error,
    ClientDisconnected,
}

/// What is known of a request at its end.
pub(crate) struct Entry<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) method: &'static str,
    /// The pattern that matched.
    pub(crate) route: &'a str,
    pub(crate) path: &'a str,
    pub(crate) model: &'a str,
    pub(crate) status: u16,
    pub(crate) milliseconds: f64,
    pub(crate) end: End,
    pub(crate) usage: Option<Usage>,
}

pub(crate) fn started(request_id: &str, method: &str, path: &str) {
    tracing::info!(target: TARGET, request_id, method, path, "request started");
}

pub(crate) fn completed(entry: &Entry<'_>) {
    let end = match entry.end {
        End::Completed => "completed",
        End::Error => "error",
        End::ClientDisconnected => "client_disconnected",
    };
    let usage = entry.usage.as_ref();
    tracing::info!(
        target: TARGET,
        request_id = entry.request_id,
        method = entry.method,
        route = entry.route,
        path = entry.path,
        model = entry.model,
        status = entry.status,
        duration_ms = (entry.milliseconds * 1e3).round() / 1e3,
        end,
        prompt_tokens = usage.map(|usage| usage.prompt_tokens),
        cached_tokens = usage.map(|usage| usage.prompt_tokens_details.cached_tokens),
        completion_tokens = usage.map(|usage| usage.completion_tokens),
        "request completed"
    );
}

/// Prints the access log, and nothing else, to `writer`.
pub fn layer<S, W>(format: AccessLogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    match format {
        AccessLogFormat::Text => layer.with_filter(only_access()).boxed(),
        AccessLogFormat::Json => layer.json().flatten_event(true).with_filter(only_access()).boxed(),
    }
}

fn only_access() -> FilterFn {
    filter_fn(|event| event.target() == TARGET)
}
