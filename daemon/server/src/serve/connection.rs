//! One connection: its limits, and its end when nobody asks anything over it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::admission::Admission;

/// Time for a connection to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

/// While the server shuts down: for a connection to bring the rest of a request's head.
const LATE_HEAD_TIME: Duration = Duration::from_secs(1);

/// Serves one connection until either side ends it, or it had no request for `idle_timeout`.
pub(super) fn spawn(
    socket: TcpStream,
    router: Router,
    connections: &GracefulShutdown,
    admission: Admission,
    (place, idle_timeout): (OwnedSemaphorePermit, Duration),
) {
    // Tokens leave one by one; waiting to fill packets would hold them back.
    let _ = socket.set_nodelay(true);
    let activity = Activity::new();
    let service = service_fn(answering(router, activity.clone()));
    let connection = builder().serve_connection(TokioIo::new(socket), service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            },
            () = activity.idle(idle_timeout) => tracing::debug!("an idle connection was closed"),
            () = unused_at_the_end(&admission, &activity) => {}
        }
        drop(place);
    });
}

/// Ready when the server shuts down and nothing runs: half a request must not hold it up.
async fn unused_at_the_end(admission: &Admission, activity: &Activity) {
    admission.closed().await;
    activity.idle(LATE_HEAD_TIME).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
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

/// The router, with every answer counted as running until its body has ended.
fn answering(
    router: Router,
    activity: Activity,
) -> impl Fn(Request<Incoming>) -> Answering<Response<CountedBody>> {
    let router = TowerToHyperService::new(router);
    move |request| {
        let running = activity.begin();
        let answer = router.call(request);
        Box::pin(async move {
            let answer = answer.await?;
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
struct Activity(Arc<Mutex<Requests>>);

struct Requests {
    running: usize,
    /// When the last one began or ended.
    changed: Instant,
}

impl Activity {
    fn new() -> Activity {
        Activity(Arc::new(Mutex::new(Requests { running: 0, changed: Instant::now() })))
    }

    fn begin(&self) -> Running {
        self.lock().count(1);
        Running(self.clone())
    }

    /// Ready when no request ran for `timeout`.
    async fn idle(&self, timeout: Duration) {
        loop {
            let until = {
                let requests = self.lock();
                let since = if requests.running > 0 { Instant::now() } else { requests.changed };
                since + timeout
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requests {
    fn count(&mut self, change: isize) {
        self.running = self.running.saturating_add_signed(change);
        self.changed = Instant::now();
    }
}

/// A request until its answer has left or was given up.
struct Running(Activity);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().count(-1);
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
        let running = activity.begin();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(200)).await;
            drop(running);
        };
        tokio::join!(activity.idle(timeout), ends);
        assert_eq!(began.elapsed().as_secs(), 260);
    }
}
