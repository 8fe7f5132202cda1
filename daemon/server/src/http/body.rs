//! A request's body: bounded in size and time, read before anything else is done.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::track::Tracked;
use crate::error::ApiError;
use crate::work::Work;

/// Bodies take memory in pieces of this many bytes.
pub(super) const MEMORY_UNIT: usize = 1024;

/// Of a body of which more is to come. Whoever keeps its memory for longer must send something.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Larger bodies leave some memory to those up to here, so that a few that stall do not keep all others out.
const SMALL_BYTES_MAX: usize = 16 << 10;
/// Of all memory for bodies, one part in this many.
const SMALL_PART: usize = 8;

/// For a body that is still arriving when the server shuts down.
const LATE_BODY_TIME: Duration = Duration::from_secs(2);

/// The bytes of a JSON body.
pub(super) struct JsonBody {
    bytes: Bytes,
    memory: OwnedSemaphorePermit,
}

impl JsonBody {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads the body, which is gone then: it can be large, and the answer can be long. What was read holds the body's
    /// share of the memory as long as the caller keeps it.
    pub(super) async fn read<T: Send + 'static>(
        self,
        read: fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<(T, OwnedSemaphorePermit), ApiError> {
        let JsonBody { bytes, memory } = self;
        let length = bytes.len();
        Work::Body.run(length, move || Ok((read(&bytes)?, memory))).await
    }
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
        let tracked = request.extensions().get::<Tracked>().cloned();
        let read = collect(Limited::new(request.into_body(), limit), app);
        let closing = async {
            app.admission.leaving().await;
            tokio::time::sleep(LATE_BODY_TIME).await;
        };
        let read = tokio::select! {
            read = tokio::time::timeout(app.options.body_timeout, read) => read,
            () = closing => return Err(ApiError::ShuttingDown),
        };
        let body = read.map_err(|_| ApiError::BodyTimeout)??;
        if let Some(tracked) = tracked {
            tracked.set_body(&body.bytes);
        }
        Ok(body)
    }
}

/// Takes memory for what has come, not for what was announced: whoever sends nothing holds nothing. So a body may be
/// refused in its middle, when others have taken what is left.
async fn collect(mut body: Limited<Body>, app: &App) -> Result<JsonBody, ApiError> {
    let limit = app.options.body_bytes_max;
    let mut bytes = BytesMut::new();
    let mut memory = take_memory(app, 0, 0)?;
    loop {
        let frame = match memory.num_permits() {
            0 => body.frame().await,
            _ => tokio::time::timeout(SILENCE_MAX, body.frame()).await.map_err(|_| ApiError::BodyTimeout)?,
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
            true => ApiError::BodyTooLarge { limit },
            false => ApiError::malformed(format!("the body could not be read: {error}")),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(&data);
        let (all, left) = share(&bytes, app);
        let more = all.saturating_sub(memory.num_permits());
        memory.merge(take_memory(app, more, left)?);
    }
    Ok(JsonBody { bytes: bytes.freeze(), memory })
}

/// Units that a body takes, and how many it leaves to small ones. One body alone is never refused.
fn share(bytes: &BytesMut, app: &App) -> (usize, usize) {
    let all = app.options.body_memory_max / MEMORY_UNIT;
    let left = if bytes.len() <= SMALL_BYTES_MAX { 0 } else { all / SMALL_PART };
    (bytes.capacity().div_ceil(MEMORY_UNIT).min(all - left), left)
}

/// A share of the memory for bodies.
fn take_memory(app: &App, units: usize, left: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    if units > 0 && app.body_memory.available_permits() < units + left {
        return Err(ApiError::BodyMemory);
    }
    let taken = app.body_memory.clone().try_acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX));
    taken.map_err(|_| ApiError::BodyMemory)
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// JSON, uncompressed: a compressed body could be a thousand times larger than it looks.
fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(encoding) = headers
        .get(header::CONTENT_ENCODING)
        .filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
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
