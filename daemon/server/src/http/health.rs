//! `GET /health`: the process is alive and answers. What the models do is told by `/v1/models`.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Ask whether the server is alive
#[utoipa::path(get, path = "/health", tag = "Operation", responses((status = 200, description = "The server answers", body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}
