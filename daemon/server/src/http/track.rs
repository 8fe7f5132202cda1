//! One record a request: its id, model, sizes and end; from it come the metrics, the access log, the payload log.
//!
//! A request ends when its last byte is sent or its client is gone, which only the answer's body can tell.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;

use super::error::{Failure, Rejection};
use super::{App, request_id};
use crate::access_log::{self, End, Entry};
use crate::error::ApiError;
use crate::metrics::{HttpMetrics, RequestLabels, RouteLabels};
use crate::openai::usage::Usage;
use crate::payload_log::{PayloadKind, PayloadLog};

const UNMATCHED: &str = "<unmatched>";
/// The `model` label of requests that name none that exists.
const NO_MODEL: &str = "none";
pub(super) const UNKNOWN_MODEL: &str = "unknown";
/// What proxies log when the client left first; never sent.
const CLIENT_CLOSED: u16 = 499;
/// How the routes end that machines call all day.
const HOUSEKEEPING: [&str; 6] = ["/", "/health", "/ready", "/metrics", "/docs", "/openapi.json"];

/// A request while it is answered. Cheap to clone; handlers get it as an argument.
#[derive(Clone)]
pub(super) struct Tracked(Arc<Record>);

struct Record {
    id: Arc<str>,
    method: &'static str,
    route: String,
    path: Arc<str>,
    started: Instant,
    labels: Mutex<RouteLabels>,
    body_bytes: AtomicU64,
    /// In the payload log, once.
    request_logged: AtomicBool,
    usage: Mutex<Option<Usage>>,
    failed: AtomicBool,
    /// Absent where the request is not counted.
    http: Option<HttpMetrics>,
    payload_log: Option<PayloadLog>,
}

impl Tracked {
    pub(super) fn started(&self) -> Instant {
        self.0.started
    }

    /// From now on the request counts for this model, which must be one of the ledger or `UNKNOWN_MODEL`.
    pub(super) fn set_model(&self, model: &str) {
        let mut labels = self.0.labels.lock().unwrap_or_else(PoisonError::into_inner);
        self.in_flight(&labels, |gauge| gauge.dec());
        labels.model = model.to_owned();
        labels.model_name = model.to_owned();
        self.in_flight(&labels, |gauge| gauge.inc());
    }

    fn in_flight(&self, labels: &RouteLabels, change: impl FnOnce(&Gauge<u64, AtomicU64>) -> u64) {
        if let Some(http) = &self.0.http {
            change(&http.in_flight.get_or_create(labels));
        }
    }

    pub(super) fn set_body(&self, body: &Bytes) {
        self.0.body_bytes.store(body.len() as u64, Ordering::Relaxed);
        self.log_request(body);
    }

    /// The first call counts: with the body, or without where none was read.
    fn log_request(&self, body: &Bytes) {
        let Record { method, path, request_logged, .. } = &*self.0;
        if !request_logged.swap(true, Ordering::Relaxed) {
            self.log_payload(PayloadKind::Request { method, path: path.clone() }, body);
        }
    }

    pub(super) fn set_usage(&self, usage: Usage) {
        *self.0.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    /// The answer's status said success and then it broke.
    pub(super) fn set_failed(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
    }

    /// Found by the id that the access log has, too.
    pub(super) fn log_error(&self, error: &str, message: &str) {
        let (request_id, model) = (&*self.0.id, self.labels().model);
        tracing::error!(request_id, model, error, "{message}");
    }

    fn log_payload(&self, kind: PayloadKind, body: &Bytes) {
        if let Some(log) = &self.0.payload_log {
            log.record(&self.0.id, kind, body.clone());
        }
    }

    fn labels(&self) -> RouteLabels {
        self.0.labels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: Sync> FromRequestParts<S> for Tracked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Tracked, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| ApiError::Engine("the request is not tracked".into()))
    }
}

/// The middleware around all routes.
pub(super) async fn track(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id::of(request.headers());
    let echo = app.options.request_id_header.then(|| HeaderValue::from_str(&id).ok()).flatten();
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, |path| path.as_str()).to_owned();
    let housekeeping =
        HOUSEKEEPING.iter().any(|own| route.ends_with(own)) || request.method() == Method::OPTIONS;
    let method = method(request.method());
    let model = NO_MODEL.to_owned();
    let labels = RouteLabels { method, path: route.clone(), model: model.clone(), model_name: model };
    let record = Record {
        id,
        method,
        path: request.uri().path().chars().take(256).collect::<String>().into(),
        route,
        started: Instant::now(),
        labels: Mutex::new(labels),
        body_bytes: AtomicU64::new(0),
        request_logged: AtomicBool::new(false),
        usage: Mutex::new(None),
        failed: AtomicBool::new(false),
        http: (app.options.metrics && !housekeeping).then(|| app.metrics.http.clone()),
        payload_log: app.payload_log.clone().filter(|_| !housekeeping),
    };
    let tracked = Tracked(Arc::new(record));
    request.extensions_mut().insert(tracked.clone());
    let logged = app.options.access_log && (app.options.access_log_health || !housekeeping);
    let mut ending = Ending::begin(tracked.clone(), logged);
    let mut response = next.run(request).await;
    ending.answered(&response);
    if let Some(Rejection(reason)) = response.extensions().get() {
        app.metrics.reject(&tracked.labels().model, reason);
    }
    if let Some(Failure(reason)) = response.extensions().get() {
        tracked.log_error(reason, "a request failed in the engine");
    }
    if let Some(id) = echo {
        response.headers_mut().insert(request_id::HEADER, id);
    }
    response.map(|body| Body::new(TrackedBody { body, ending }))
}

/// A label's values are bounded, a client's methods are not.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

/// Records the end when dropped, however it comes.
struct Ending {
    tracked: Tracked,
    logged: bool,
    status: u16,
    complete: bool,
}

impl Ending {
    fn begin(tracked: Tracked, logged: bool) -> Ending {
        tracked.in_flight(&tracked.labels(), |gauge| gauge.inc());
        if logged {
            access_log::started(&tracked.0.id, tracked.0.method, &tracked.0.path);
        }
        Ending { tracked, logged, status: CLIENT_CLOSED, complete: false }
    }

    /// Before anything of the answer is sent.
    fn answered(&mut self, response: &Response) {
        self.status = response.status().as_u16();
        // hyper does not poll an empty body, and axum drops that of a HEAD.
        self.complete = self.tracked.0.method == "HEAD" || response.body().is_end_stream();
        self.tracked.log_request(&Bytes::new());
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let record = &self.tracked.0;
        let labels = self.tracked.labels();
        let seconds = record.started.elapsed().as_secs_f64();
        self.tracked.in_flight(&labels, |gauge| gauge.dec());
        if let Some(http) = &record.http {
            let request = RequestLabels {
                method: labels.method,
                path: labels.path.clone(),
                model: labels.model.clone(),
                model_name: labels.model_name.clone(),
                status: self.status,
            };
            http.requests.get_or_create(&request).inc();
            http.seconds.get_or_create(&request).observe(seconds);
            let bytes = record.body_bytes.load(Ordering::Relaxed);
            http.body_bytes.get_or_create(&labels).observe(bytes as f64);
        }
        if self.logged {
            let end = match (self.complete, record.failed.load(Ordering::Relaxed) || self.status >= 500) {
                (_, true) => End::Error,
                (true, false) => End::Completed,
                (false, false) => End::ClientDisconnected,
            };
            access_log::completed(&Entry {
                request_id: &record.id,
                method: record.method,
                route: &record.route,
                path: &record.path,
                model: &labels.model,
                status: self.status,
                milliseconds: seconds * 1e3,
                end,
                usage: *record.usage.lock().unwrap_or_else(PoisonError::into_inner),
            });
        }
    }
}

struct TrackedBody {
    body: Body,
    ending: Ending,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.ending.tracked.log_payload(PayloadKind::Response, data);
        }
        self.ending.complete = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
