//! Reconciles as traces of OpenTelemetry, for the collector that the environment names
//! (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`); none without. They go by OTLP over plain
//! HTTP, from a thread of their own: a collector that is slow or gone loses spans and holds up nothing.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Of spans that are in traces, and not in logs.
pub(crate) const TARGET: &str = "ostro_operator::traces";
const SERVICE: &str = "ostro-operator";
/// In this order.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// For one request to the collector.
const LIMIT: Duration = Duration::from_secs(5);
/// For what is left when the operator ends: less than its pod's 30 s leave after reconciles and the lease.
const END_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Sends what was traced.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

/// # Errors
/// What the environment says cannot be done.
pub(crate) fn start(instance: &str) -> anyhow::Result<Option<Traces>> {
    let given =
        |name: &'static str| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?));
    let Some((name, endpoint)) = ENDPOINTS.into_iter().find_map(given) else { return Ok(None) };
    if !endpoint.starts_with("http://") {
        bail!("{name} = {endpoint:?}: traces go by http:// only, to a collector in the cluster");
    }
    let exporter = SpanExporter::builder().with_http().with_http_client(Plain::default());
    let exporter = exporter.with_protocol(Protocol::HttpBinary).build();
    let exporter = exporter.with_context(|| format!("cannot send traces to {name} = {endpoint:?}"))?;
    Ok(Some(Traces::by(exporter, instance)))
}

impl Traces {
    fn by(exporter: SpanExporter, instance: &str) -> Traces {
        let attributes = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ];
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let resource = resource.with_attributes(attributes).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
        Traces { provider: provider.build() }
    }

    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SERVICE));
        layer.with_filter(Targets::new().with_target("ostro_operator", tracing::Level::INFO))
    }

    /// Sends what is left.
    pub(crate) fn end(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END_LIMIT) {
            tracing::warn!(%error, "the last traces are lost");
        }
    }
}

/// A client that blocks: it runs on the exporter's own thread.
#[derive(Debug)]
struct Plain {
    agent: ureq::Agent,
    is_failing: AtomicBool,
}

impl Default for Plain {
    fn default() -> Plain {
        let config = ureq::Agent::config_builder();
        let config = config.timeout_global(Some(LIMIT)).http_status_as_error(false).proxy(None).build();
        Plain { agent: config.into(), is_failing: AtomicBool::new(false) }
    }
}

impl Plain {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.agent.run(request.map(|body| body.to_vec())).map_err(io::Error::other)?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(io::Error::other)?;
        Ok(Response::from_parts(head, body.into()))
    }

    /// Of many failures the first, and that they are over.
    fn tell(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let why = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the collector answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.is_failing.swap(why.is_some(), Ordering::Relaxed);
        match why {
            Some(why) if !was_failing => tracing::warn!("traces are lost until they can be sent: {why}"),
            None if was_failing => tracing::info!("traces are sent again"),
            _ => {}
        }
    }
}

impl HttpClient for Plain {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = self.send(request);
            self.tell(&sent);
            sent
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The head and the body of one request.
    fn collect(listener: &TcpListener) -> (String, Vec<u8>) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        (head, body)
    }

    #[test]
    fn a_collector_that_is_gone_is_told_once_until_it_is_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let plain = Plain::default();
        let send = || {
            let request = Request::post(format!("http://{address}/")).body(Bytes::from_static(b"x")).unwrap();
            let sent = plain.send(request);
            plain.tell(&sent);
        };
        let lines = crate::tests::Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        send();
        send();
        assert_eq!(lines.take().matches("traces are lost until").count(), 1);
        let listener = TcpListener::bind(address).unwrap();
        let collector = std::thread::spawn(move || collect(&listener));
        send();
        collector.join().unwrap();
        assert_eq!(lines.take().matches("traces are sent again").count(), 1);
    }

    #[test]
    fn spans_reach_a_collector_and_logs_do_not_show_those_of_traces() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = std::thread::spawn(move || collect(&listener));
        let exporter = SpanExporter::builder().with_http().with_http_client(Plain::default());
        let exporter = exporter.with_protocol(Protocol::HttpBinary).with_endpoint(url).build().unwrap();
        let traces = Traces::by(exporter, "one");
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("reconcile", name = "model-of-mine").entered();
            tracing::info_span!(target: TARGET, "apply").in_scope(|| ());
            tracing::info_span!(target: "another", "hidden").in_scope(|| ());
            drop(outer);
        });
        traces.end();
        let (head, body) = collector.join().unwrap();
        assert!(head.starts_with("post /v1/traces ") && head.contains("application/x-protobuf"), "{head}");
        let has = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
        for text in ["ostro-operator", "reconcile", "model-of-mine", "apply", "one"] {
            assert!(has(text), "{text}");
        }
        assert!(!has("hidden"));
    }
}
