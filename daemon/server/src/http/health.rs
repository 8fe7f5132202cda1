//! `GET /health`: the process is alive and answers, and no engine has ended by a fault or stands still, which a new process
//! would mend.
//! `GET /ready`: every model is loaded. Which one is not is told by
//! `/v1/models`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::openai::models::ModelStatus;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or `failed` when an engine has ended by a fault or stands still.
    status: &'static str,
}

/// Ask whether the server is alive
#[utoipa::path(get, path = "/health", tag = "Operation", responses(
    (status = 200, description = "The server answers", body = Health),
    (status = 503, description = "An engine has ended by a fault, such as a lost GPU, or stands still", body = Health),
))]
pub(super) async fn health(State(app): State<App>) -> (StatusCode, Json<Health>) {
    match app.models.iter().any(|model| model.is_broken()) {
        false => (StatusCode::OK, Json(Health { status: "ok" })),
        true => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "failed" })),
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// Models that are loaded, and all.
    loaded: usize,
    models: usize,
}

/// Ask whether every model can answer
#[utoipa::path(
    get, path = "/ready", tag = "Operation",
    responses(
        (status = 200, description = "Every model is loaded", body = Readiness),
        (status = 503, description = "A model loads or could not be loaded", body = Readiness),
    ),
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let states: Vec<ModelStatus> = app.models.iter().map(|model| model.card().status).collect();
    let loaded = states.iter().filter(|status| **status == ModelStatus::Loaded).count();
    let (code, status) = match loaded == states.len() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (code, Json(Readiness { status, loaded, models: states.len() }))
}
