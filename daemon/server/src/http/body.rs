//! A request's body: bounded in size and time, read before anything else is done.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::App;
use super::track::Tracked;
use crate::error::ApiError;

/// The bytes of a JSON body.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest<App> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<JsonBody, ApiError> {
        check_media_type(request.headers())?;
        let limit = app.options.body_bytes_max;
        if announced_length(request.headers()).is_some_and(|length| length > limit as u64) {
            return Err(ApiError::BodyTooLarge { limit });
        }
        let tracked = request.extensions().get::<Tracked>().cloned();
        let read = Limited::new(request.into_body(), limit).collect();
        let body = match tokio::time::timeout(app.options.body_timeout, read).await {
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
        Ok(JsonBody(body))
    }
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
