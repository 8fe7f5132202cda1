//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use super::App;
use super::track::Tracked;
use crate::error::ApiError;
use crate::openai::error::ErrorEnvelope;
use crate::openai::models::{ModelCard, ModelList};

/// List the models and the state of each; the default model comes first
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI", responses((status = 200, description = "All models", body = ModelList)))]
pub(super) async fn list(State(app): State<App>) -> Json<ModelList> {
    Json(ModelList { object: "list", data: app.models.iter().map(|model| model.card()).collect() })
}

/// Look at one model; an id may hold slashes
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "OpenAI",
    params(("id" = String, Path, description = "Id, alias or `default`")),
    responses(
        (status = 200, description = "The model", body = ModelCard),
        (status = "4XX", description = "No such model", body = ErrorEnvelope),
    ),
)]
pub(super) async fn retrieve(
    State(app): State<App>,
    tracked: Tracked,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelCard>, ApiError> {
    let Path(id) = id.map_err(|error| ApiError::invalid("model", error.body_text()))?;
    app.resolve(Some(&id), &tracked).map(|model| Json(model.card()))
}
