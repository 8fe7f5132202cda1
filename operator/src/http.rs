//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    /// The API server was reached: a standby is ready too.
    pub(crate) is_ready: Arc<AtomicBool>,
    pub(crate) metrics: Metrics,
}

/// Serves until the process ends.
pub(crate) async fn serve(address: SocketAddr, health: Health) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, routes).await.context("cannot serve")
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    match health.is_ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the API server was not reached yet"),
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], health.metrics.text())
}
