//! `/healthz`, `/readyz` and `/metrics`; `port.rs` has what the connections to them may take.

mod port;

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ostro_exposition::Exposition;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::readiness::Readiness;
use port::Limits;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
}

/// Serves until the process ends.
pub(crate) async fn serve(address: SocketAddr, health: Health) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let displaced = health.metrics.displaced.clone();
    match port::serve(listener, routes(health), (Limits::default(), displaced)).await {}
}

fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    match health.readiness.lack() {
        None => (StatusCode::OK, "ready".to_owned()),
        Some(lack) => (StatusCode::SERVICE_UNAVAILABLE, lack),
    }
}

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::accepted(accept);
    ([(header::CONTENT_TYPE, exposition.content_type())], health.metrics.text(exposition))
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
            let answer = metrics(State(health), headers.into_iter().collect()).await.into_response();
            assert_eq!(answer.headers()[header::CONTENT_TYPE], exposition.content_type());
        }
    }
}
