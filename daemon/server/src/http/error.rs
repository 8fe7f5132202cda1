//! Errors as HTTP: the one place that chooses status codes.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::openai::error::{ErrorBody, ErrorEnvelope};

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

/// Travels with a refusal to the metrics: why the request was not let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejection(pub(super) &'static str);

/// Travels with an answer to the log, which names the request: why the engine has failed it.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) String);

impl ApiError {
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Invalid { .. } | ApiError::Unsupported { .. } | ApiError::ContextLength { .. } => {
                StatusCode::BAD_REQUEST
            }
            ApiError::UnknownModel { .. } | ApiError::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            ApiError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            ApiError::BodyMemory | ApiError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Loading { .. } | ApiError::LoadFailed { .. } | ApiError::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ApiError::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As answers and streams carry it.
    pub fn envelope(&self) -> ErrorEnvelope {
        let (kind, code) = match self {
            ApiError::Invalid { .. } => (INVALID, None),
            ApiError::Unsupported { .. } => (INVALID, Some("unsupported")),
            ApiError::ContextLength { .. } => (INVALID, Some("context_length_exceeded")),
            ApiError::UnknownModel { .. } => (INVALID, Some("model_not_found")),
            ApiError::UnknownRoute { .. } => (INVALID, Some("unknown_url")),
            ApiError::MethodNotAllowed { .. } => (INVALID, Some("method_not_allowed")),
            ApiError::MediaType(_) => (INVALID, Some("unsupported_media_type")),
            ApiError::TransferCoding => (INVALID, Some("unsupported_transfer_coding")),
            ApiError::BodyTooLarge { .. } => (INVALID, Some("request_too_large")),
            ApiError::BodyTimeout => (INVALID, Some("request_timeout")),
            ApiError::BodyMemory | ApiError::Busy { .. } => ("rate_limit_error", Some("rate_limit_exceeded")),
            ApiError::Loading { .. } => (SERVER, Some("model_loading")),
            ApiError::LoadFailed { .. } => (SERVER, Some("model_load_failed")),
            ApiError::ShuttingDown => (SERVER, Some("shutting_down")),
            ApiError::Engine(_) => (SERVER, None),
        };
        let param = match self {
            ApiError::Invalid { param, .. } => param.clone(),
            ApiError::Unsupported { param, .. } => Some(param.clone()),
            ApiError::ContextLength { param, .. } => Some((*param).to_owned()),
            ApiError::UnknownModel { .. } => Some("model".to_owned()),
            _ => None,
        };
        ErrorEnvelope { error: ErrorBody { message: self.to_string(), kind, param, code } }
    }

    fn rejection(&self) -> Option<Rejection> {
        match self {
            ApiError::BodyMemory => Some(Rejection("body_memory")),
            ApiError::Busy { .. } => Some(Rejection("queue_full")),
            ApiError::Loading { .. } => Some(Rejection("loading")),
            ApiError::LoadFailed { .. } => Some(Rejection("load_failed")),
            ApiError::ShuttingDown => Some(Rejection("shutting_down")),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            ApiError::Busy { retry_after } | ApiError::Loading { retry_after, .. } => Some(*retry_after),
            // Bodies come and go; another replica serves, or this one after its restart.
            ApiError::BodyMemory | ApiError::ShuttingDown => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.envelope())).into_response();
        if let Some(rejection) = self.rejection() {
            response.extensions_mut().insert(rejection);
        }
        if let ApiError::Engine(reason) = &self {
            response.extensions_mut().insert(Failure(reason.clone()));
        }
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}
