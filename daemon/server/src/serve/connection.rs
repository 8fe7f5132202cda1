//! One connection: its limits, and its end when nobody asks anything over it.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use ostro_listen::end_when_unread;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::head;
use crate::admission::Admission;
use crate::metrics::HeadLabels;
use crate::options::ServerOptions;

/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// While the server shuts down: for a client that keeps its connection to send one more request. Were it closed under
/// it, the request could be on its way.
const LAST_REQUEST_TIME: Duration = Duration::from_secs(3);

/// What answers on all connections.
#[derive(Clone)]
pub(super) struct Responder {
    pub(super) router: Router,
    pub(super) admission: Admission,
    pub(super) heads_refused: Family<HeadLabels, Counter>,
}

impl Responder {
    fn refused_head(&self, reason: &'static str, error: &dyn Display) {
        tracing::debug!(%error, "the head of a request was refused");
        self.heads_refused.get_or_create(&HeadLabels { reason }).inc();
    }
}

/// What a connection may take.
pub(super) struct Limits {
    /// Among the connections.
    place: OwnedSemaphorePermit,
    /// Without a request, or with bytes of an answer that the client's system does not take.
    idle: Duration,
    last_request: Duration,
}

impl Limits {
    pub(super) fn new(place: OwnedSemaphorePermit, options: &ServerOptions) -> Limits {
        // Who waits for requests that do not come must not take the time of those that run.
        let last_request = LAST_REQUEST_TIME.min(options.grace / 2);
        Limits { place, idle: options.idle_timeout, last_request }
    }
}

/// Serves one connection until either side ends it, or it had no request for too long.
pub(super) fn spawn(
    socket: TcpStream,
    responder: Responder,
    connections: &TaskTracker,
    limits: Limits,
) -> Activity {
    // Tokens leave one by one; waiting to fill packets would hold them back.
    let _ = socket.set_nodelay(true);
    let _ = end_when_unread(&socket, limits.idle);
    let activity = Activity::new();
    let service = service_fn(answering(responder.clone(), activity.clone()));
    let connection = builder().serve_connection(TokioIo::new(socket), service).into_owned();
    let spawned = activity.clone();
    connections.spawn(async move {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = no_more_requests(&responder.admission, &activity, &limits) => {
                // Not dropped: hyper gives up an answer's body when it has taken its last bytes, not written them.
                connection.as_mut().graceful_shutdown();
                activity.touch();
                tokio::select! {
                    ended = connection => ended,
                    () = activity.idle(|requests| requests.late(limits.idle)) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            match head::refusal(&*error) {
                Some(reason) => responder.refused_head(reason, &error),
                None => tracing::debug!(%error, "a connection broke"),
            }
        }
        drop(limits.place);
    });
    spawned
}

/// Ready when nobody is to be waited for that may send a request.
async fn no_more_requests(admission: &Admission, activity: &Activity, limits: &Limits) {
    tokio::select! {
        () = activity.idle(|_| limits.idle) => tracing::debug!("an idle connection is closed"),
        () = activity.given_up() => tracing::debug!("an idle connection makes room for another one"),
        () = last_request(admission, activity, limits.last_request) => {}
    }
}

/// Ready when the server shuts down and no further request is to be waited for.
async fn last_request(admission: &Admission, activity: &Activity, patience: Duration) {
    admission.leaving().await;
    activity.touch();
    tokio::select! {
        // It has words for going, which lose no request.
        () = activity.http2() => {}
        () = activity.idle(|_| patience) => {}
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // It would run between requests too, and end kept connections before `Limits::idle`, which ends half heads as well.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

/// The router, with every answer counted as running until its body has ended. While the server shuts down, an answer is
/// the last one of its connection.
fn answering(
    responder: Responder,
    activity: Activity,
) -> impl Fn(Request<Incoming>) -> Answering<Response<CountedBody>> {
    let router = TowerToHyperService::new(responder.router.clone());
    move |request| {
        let running = activity.begin(request.version());
        let checked = head::check(request.version(), request.headers());
        let checked = checked.inspect_err(|error| responder.refused_head(head::MALFORMED, error));
        let answer = checked.map(|()| router.call(request));
        let admission = responder.admission.clone();
        Box::pin(async move {
            let mut answer = match answer {
                Ok(answer) => answer.await?,
                Err(refused) => refused.into_response(),
            };
            if admission.is_leaving() && !running.0.is_http2() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer.map(|body| {
                let counted = body.map_frame(move |frame| {
                    let _until_its_end = &running;
                    frame
                });
                Box::pin(counted) as CountedBody
            }))
        })
    }
}

type Answering<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;
type CountedBody = std::pin::Pin<Box<dyn HttpBody<Data = Bytes, Error = axum::Error> + Send>>;
