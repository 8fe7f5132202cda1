//! `GET /metrics`.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use ostro_exposition::Exposition;

use super::App;

/// Read the metrics, in Prometheus' or, when asked for, OpenMetrics' form
#[utoipa::path(
    get, path = "/metrics", tag = "Operation",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::accepted(accept);
    ([(header::CONTENT_TYPE, exposition.content_type())], app.metrics.expose(exposition).await)
}
