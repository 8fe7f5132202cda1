//! `/healthz`, `/readyz` and `/metrics`; `port.rs` has what the connections to them may take.

mod port;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ostro_exposition::Exposition;
use ostro_listen::without_ipv6;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use port::Limits;

/// Metrics are written once in this time: who asks for them all the time must not keep probes waiting.
const FRESH: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
}

/// Cheap to clone.
#[derive(Clone, Default)]
struct Pages {
    written: Arc<Mutex<Vec<Page>>>,
}

struct Page {
    exposition: Exposition,
    at: Instant,
    text: Bytes,
}

/// Serves until the process ends.
pub(crate) async fn serve(address: SocketAddr, health: Health) -> anyhow::Result<()> {
    let listener = listen(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let displaced = health.metrics.displaced.clone();
    match port::serve(listener, routes(health), (Limits::default(), displaced)).await {}
}

async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let refused = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(refused) => refused,
    };
    match without_ipv6(address, &refused) {
        Some(address) => TcpListener::bind(address).await,
        None => Err(refused),
    }
}

fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state((health, Pages::default()))
}

async fn readyz(State((health, _)): State<(Health, Pages)>) -> (StatusCode, String) {
    match health.readiness.lack() {
        None => (StatusCode::OK, "ready".to_owned()),
        Some(lack) => (StatusCode::SERVICE_UNAVAILABLE, lack),
    }
}

async fn metrics(State((health, pages)): State<(Health, Pages)>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::accepted(accept);
    let text = pages.text(exposition, || health.metrics.text(exposition));
    ([(header::CONTENT_TYPE, exposition.content_type())], text)
}

impl Pages {
    fn text(&self, exposition: Exposition, write: impl FnOnce() -> String) -> Bytes {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|page| page.at.elapsed() < FRESH);
        if let Some(page) = written.iter().find(|page| page.exposition == exposition) {
            return page.text.clone();
        }
        let text = Bytes::from(write());
        written.push(Page { exposition, at: Instant::now(), text: text.clone() });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scraper_that_does_not_ask_for_openmetrics_gets_plain_text() {
        for (accept, exposition) in [
            (None, Exposition::Text),
            (Some("application/openmetrics-text;version=1.0.0,*/*;q=0.1"), Exposition::OpenMetrics),
        ] {
            let headers = accept.map(|accept| (header::ACCEPT, accept.parse().unwrap()));
            let health = Health { readiness: Readiness::default(), metrics: Metrics::new() };
            let state = State((health, Pages::default()));
            let answer = metrics(state, headers.into_iter().collect()).await.into_response();
            assert_eq!(answer.headers()[header::CONTENT_TYPE], exposition.content_type());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_are_written_once_a_second_in_each_form() {
        let pages = Pages::default();
        let text = |exposition, text: &str| pages.text(exposition, || text.to_owned());
        assert_eq!(text(Exposition::Text, "a"), "a");
        assert_eq!(text(Exposition::OpenMetrics, "b"), "b");
        tokio::time::advance(FRESH - Duration::from_millis(1)).await;
        assert_eq!([text(Exposition::Text, "c"), text(Exposition::OpenMetrics, "c")], ["a", "b"]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(text(Exposition::Text, "c"), "c");
    }
}
