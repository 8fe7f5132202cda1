//! One connection: its limits, and its end when nobody asks anything over it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use ostro_listen::end_when_unread;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::head;
use crate::admission::Admission;
use crate::options::ServerOptions;

/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// While the server shuts down: for a client that keeps its connection to send one more request. Were it closed under
/// it, the request could be on its way.
const LAST_REQUEST_TIME: Duration = Duration::from_secs(3);
/// Of a connection that is told to end, for the rest of a first request's head.
const LATE_HEAD_TIME: Duration = Duration::from_secs(1);
/// Of one that speaks HTTP/2, which says that it goes, and hears that this was heard.
const LATE_HTTP2_TIME: Duration = Duration::from_secs(3);

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
    router: Router,
    connections: &TaskTracker,
    admission: Admission,
    limits: Limits,
) -> Activity {
    // Tokens leave one by one; waiting to fill packets would hold them back.
    let _ = socket.set_nodelay(true);
    let _ = end_when_unread(&socket, limits.idle);
    let activity = Activity::new();
    let service = service_fn(answering(router, activity.clone(), admission.clone()));
    let connection = builder().serve_connection(TokioIo::new(socket), service).into_owned();
    let spawned = activity.clone();
    connections.spawn(async move {
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = no_more_requests(&admission, &activity, &limits) => {
                // Not dropped: hyper gives up an answer's body when it has taken its last bytes, not written them.
                connection.as_mut().graceful_shutdown();
                activity.touch();
                tokio::select! {
                    ended = connection => ended,
                    () = activity.idle(|requests| requests.late(&limits)) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
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
    router: Router,
    activity: Activity,
    admission: Admission,
) -> impl Fn(Request<Incoming>) -> Answering<Response<CountedBody>> {
    let router = TowerToHyperService::new(router);
    move |request| {
        let running = activity.begin(request.version());
        let answer = head::check(request.version(), request.headers()).map(|()| router.call(request));
        let admission = admission.clone();
        Box::pin(async move {
            let mut answer = match answer {
                Ok(answer) => answer.await?,
                Err(refused) => {
                    tracing::debug!(%refused, "the head of a request was refused");
                    refused.into_response()
                }
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

/// The running requests of a connection.
#[derive(Clone)]
pub(super) struct Activity(Arc<watch::Sender<Requests>>);

#[derive(Clone, Copy)]
struct Requests {
    running: usize,
    /// When the last one began or ended.
    changed: Instant,
    /// Of the last one.
    version: Option<Version>,
    /// Its place is for another connection.
    given_up: bool,
}

impl Activity {
    fn new() -> Activity {
        let requests = Requests { running: 0, changed: Instant::now(), version: None, given_up: false };
        Activity(Arc::new(watch::Sender::new(requests)))
    }

    fn begin(&self, version: Version) -> Running {
        self.0.send_modify(|requests| {
            requests.count(1);
            requests.version = Some(version);
        });
        Running(self.clone())
    }

    /// Time without a request counts from now.
    fn touch(&self) {
        self.0.send_modify(|requests| requests.changed = Instant::now());
    }

    fn is_http2(&self) -> bool {
        self.0.borrow().is_http2()
    }

    /// When its last request ended, where it is to go on.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let requests = self.0.borrow();
        (requests.running == 0 && !requests.given_up).then_some(requests.changed)
    }

    /// Ends the connection, after a request that came meanwhile.
    pub(super) fn give_up(&self) {
        self.0.send_modify(|requests| requests.given_up = true);
    }

    pub(super) fn downgrade(&self) -> WeakActivity {
        WeakActivity(Arc::downgrade(&self.0))
    }

    /// Ready once its place is needed.
    async fn given_up(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|requests| requests.given_up).await;
    }

    /// Ready once a request shows that the connection speaks HTTP/2.
    async fn http2(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(Requests::is_http2).await;
    }

    /// Ready when no request ran for as long as `timeout` says.
    async fn idle(&self, timeout: impl Fn(&Requests) -> Duration) {
        loop {
            let requests = *self.0.borrow();
            let since = if requests.running > 0 { Instant::now() } else { requests.changed };
            let until = since + timeout(&requests);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Requests {
    fn count(&mut self, change: isize) {
        self.running = self.running.saturating_add_signed(change);
        self.changed = Instant::now();
    }

    fn is_http2(&self) -> bool {
        self.version == Some(Version::HTTP_2)
    }

    /// How long a connection that is told to end may take when no request runs.
    fn late(&self, limits: &Limits) -> Duration {
        match self.version {
            None if self.given_up => Duration::ZERO,
            None => LATE_HEAD_TIME,
            Some(Version::HTTP_2) => LATE_HTTP2_TIME,
            // It reads nothing any more, and ends by itself once all is written.
            Some(_) => limits.idle,
        }
    }
}

/// Of a connection that may have ended.
pub(super) struct WeakActivity(Weak<watch::Sender<Requests>>);

impl WeakActivity {
    pub(super) fn upgrade(&self) -> Option<Activity> {
        self.0.upgrade().map(Activity)
    }
}

/// A request until its answer has left or was given up.
struct Running(Activity);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.count(-1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn running_requests_keep_a_connection() {
        let activity = Activity::new();
        let timeout = Duration::from_secs(60);
        let began = Instant::now();
        let running = activity.begin(Version::HTTP_11);
        let ends = async {
            tokio::time::sleep(Duration::from_secs(200)).await;
            drop(running);
        };
        tokio::join!(activity.idle(|_| timeout), ends);
        assert_eq!(began.elapsed().as_secs(), 260);
    }
}
