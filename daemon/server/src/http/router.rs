//! Puts the routes together.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::{
    App, AppState, body, chat, completions, docs, health, metrics, models, openapi, request_id, tokenize,
    track,
};
use crate::admission::Admission;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::options::RouterOptions;
use crate::payload_log::PayloadLog;

/// Options that no router can be made from.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error(
        "the base path {0:?} must begin with a slash, not end with one and hold no braces, stars or `/:`"
    )]
    BasePath(String),
    #[error("the allowed origin {0:?} is not a header value")]
    Origin(String),
    #[error("cannot open the payload log {path:?}")]
    PayloadLog { path: std::path::PathBuf, source: std::io::Error },
}

/// All routes over `models`, and the state behind them.
///
/// # Errors
/// An option that cannot be honoured.
pub(crate) fn router(models: Models, options: RouterOptions) -> Result<(Router, App), RouterError> {
    let base_path = base_path(&options.base_path)?.to_owned();
    let cors = cors(options.allowed_origins.as_deref())?;
    let nvml_library = options.metrics.then_some(options.nvml_library.as_path());
    let metrics = Metrics::new(&models, nvml_library);
    let payload_log = match &options.payload_log {
        None => None,
        Some(path) => Some(
            PayloadLog::open(path, metrics.payload_log_dropped.clone())
                .map_err(|source| RouterError::PayloadLog { path: path.clone(), source })?,
        ),
    };
    let admission = Admission::new(options.preparing_max);
    let body_memory = Arc::new(Semaphore::new(options.body_memory_max / body::MEMORY_UNIT));
    let app: App = Arc::new(AppState { models, admission, metrics, options, payload_log, body_memory });
    let routes = routes(&app);
    let routes = if base_path.is_empty() { routes } else { Router::new().nest(&base_path, routes) };
    let router = routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        // The body's own limit is in `body`, with the envelope that clients expect.
        .layer(DefaultBodyLimit::disable())
        .layer(cors)
        .layer(from_fn_with_state(app.clone(), track::track))
        .with_state(app.clone());
    Ok((router, app))
}

fn routes(app: &App) -> Router<App> {
    let mut routes = Router::new()
        .route("/", get(health::health))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize));
    if app.options.metrics {
        routes = routes.route("/metrics", get(metrics::metrics));
    }
    if app.options.docs {
        routes = routes.route("/openapi.json", get(openapi::openapi)).route("/docs", get(docs::docs));
    }
    routes
}

fn base_path(path: &str) -> Result<&str, RouterError> {
    let is_literal = !path.contains(['{', '}', '*']) && !path.contains("/:");
    let is_plain = path.is_empty() || (path.starts_with('/') && !path.ends_with('/') && is_literal);
    if is_plain { Ok(path) } else { Err(RouterError::BasePath(path.to_owned())) }
}

fn cors(origins: Option<&[String]>) -> Result<CorsLayer, RouterError> {
    let origins = match origins {
        None => AllowOrigin::from(Any),
        // In a list it would be a panic.
        Some(origins) if origins.iter().any(|origin| origin == "*") => AllowOrigin::from(Any),
        Some(origins) => {
            let value = |origin: &String| {
                HeaderValue::from_str(origin).map_err(|_| RouterError::Origin(origin.clone()))
            };
            AllowOrigin::list(origins.iter().map(value).collect::<Result<Vec<_>, _>>()?)
        }
    };
    Ok(CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        // Clients send headers of their own (x-stainless-…), none of which means anything here.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([request_id::HEADER, header::RETRY_AFTER]))
}

async fn unknown_route(State(app): State<App>, request: Request) -> ApiError {
    let path = request.uri().path();
    let hint = hint(&app.options.base_path, path);
    let path = path.chars().take(200).collect();
    ApiError::UnknownRoute { method: request.method().to_string(), path, hint }
}

/// Some clients show a 404 as a missing model, so it has to say more.
fn hint(base_path: &str, path: &str) -> String {
    match path.strip_prefix(base_path).unwrap_or(path) {
        path @ ("/models" | "/chat/completions" | "/completions") => {
            format!("; did you mean {base_path}/v1{path}? the base URL of clients ends in /v1")
        }
        "/v1/responses" | "/responses" => {
            format!("; the Responses API is not supported by this build, use {base_path}/v1/chat/completions")
        }
        _ => String::new(),
    }
}

async fn method_not_allowed(request: Request) -> ApiError {
    let path = request.uri().path().chars().take(200).collect();
    ApiError::MethodNotAllowed { method: request.method().to_string(), path }
}
