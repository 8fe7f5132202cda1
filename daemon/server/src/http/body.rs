//! A request's body: bounded in size and time, read before anything else is done.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::track::Tracked;
use crate::error::ApiError;

/// Bodies take memory in pieces of this many bytes.
pub(super) const MEMORY_UNIT: usize = 1024;

/// For a body that is still arriving when the server shuts down.
const LATE_BODY_TIME: Duration = Duration::from_secs(2);

/// The bytes of a JSON body.
pub(super) struct JsonBody {
    pub(super) bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl FromRequest<App> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<JsonBody, ApiError> {
        check_media_type(request.headers())?;
        let limit = app.options.body_bytes_max;
        let announced = announced_length(request.headers());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(ApiError::BodyTooLarge { limit });
        }
        let memory = take_memory(app, announced.map_or(limit, |length| length as usize))?;
        let tracked = request.extensions().get::<Tracked>().cloned();
        let read = Limited::new(request.into_body(), limit).collect();
        let closing = async {
            app.admission.leaving().await;
            tokio::time::sleep(LATE_BODY_TIME).await;
        };
        let read = tokio::select! {
            read = tokio::time::timeout(app.options.body_timeout, read) => read,
            () = closing => return Err(ApiError::ShuttingDown),
        };
        let body = match read {
            Err(_) => return Err(ApiError::BodyTimeout),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(ApiError::BodyTooLarge { limit }),
            Ok(Err(error)) => {
                return Err(ApiError::malformed(format!("the body could not be read: {error}")));
            }
            Ok(Ok(body)) => body.to_bytes(),
        };
        if let Some(tracked) = tracked {
            tracked.set_body(&body);
        }
        Ok(JsonBody { bytes: body, _memory: memory })
    }
}

/// A share of the memory for bodies; one body alone is never refused.
fn take_memory(app: &App, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let units = bytes.div_ceil(MEMORY_UNIT).min(app.options.body_memory_max / MEMORY_UNIT);
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    let taken = app.body_memory.clone().try_acquire_many_owned(units);
    taken.map_err(|_| ApiError::Busy { retry_after: Duration::from_secs(1) })
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// JSON, uncompressed: a compressed body could be a thousand times larger than it looks.
fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(ApiError::MediaType(format!("content-encoding {encoding:?} is not supported")));
    }
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence =
        kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(ApiError::MediaType("the content-type must be application/json".into()))
}
