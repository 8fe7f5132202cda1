//! The connections of a port to which any pod of the cluster may open as many as it likes. At most `connections_max` are
//! open: for one more the oldest is closed, whatever it does, so nobody keeps others out by being silent, slow or busy,
//! and a probe of the kubelet keeps its place until that many have come after it. Each is looked at before the next is
//! accepted: a request that is there with its connection is answered in the middle of a flood too. Without a flood, a
//! connection ends that sends no whole head in time, one that is idle, and sooner or later any, whether its peer reads
//! or not. The tasks end with the runtime; nothing is drained.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ostro_listen::Seldom;
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

/// Probes and a few scrapers have less than ten; 64 are few of the 1024 descriptors that a process often has, and
/// enough that others do not displace a request while it is on its way.
const CONNECTIONS_MAX: usize = 64;
const FIRST_HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Scrapes often come every 30 s: a connection must not be closed at the moment when it is used again.
const IDLE_LIMIT: Duration = Duration::from_secs(35);
const LIFE_LIMIT: Duration = Duration::from_secs(300);
/// After that: for the answer that is being written.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Of a request's head, and of what is buffered of an answer.
const BUFFER_BYTES_MAX: usize = 16 << 10;
/// Before the next try, when no connection could be accepted (usually: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub(super) struct Limits {
    connections_max: usize,
    /// For the head of the first request.
    first_head: Duration,
    /// From an answer to the end of the next head.
    idle: Duration,
    life: Duration,
    last_answer: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: CONNECTIONS_MAX,
            first_head: FIRST_HEAD_LIMIT,
            idle: IDLE_LIMIT,
            life: LIFE_LIMIT,
            last_answer: LAST_ANSWER_LIMIT,
        }
    }
}

/// Counts the connections that are closed for others.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    (limits, displaced): (Limits, Counter),
) -> Infallible {
    let mut open = VecDeque::new();
    let (mut failures, mut closed) = (Seldom::default(), Seldom::default());
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if make_place(&mut open, limits.connections_max) {
                    displaced.inc();
                    if let Some(connections) = closed.note() {
                        tracing::warn!(connections, "too many connections at once: the oldest were closed");
                    }
                }
                open.push_back(tokio::spawn(answer(socket, routes.clone(), limits)));
                // Those that wait to be accepted must not displace it before its request is read.
                yield_now().await;
            }
            Err(error) => {
                if let Some(failures) = failures.note() {
                    tracing::warn!(%error, failures, "no connection could be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Says whether it had to close one.
fn make_place(open: &mut VecDeque<JoinHandle<()>>, connections_max: usize) -> bool {
    open.retain(|connection| !connection.is_finished());
    if open.len() >= connections_max
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
        return true;
    }
    false
}

/// Ends with the connection, or at one of the limits.
async fn answer(socket: TcpStream, routes: Router, limits: Limits) {
    let is_used = Arc::new(AtomicBool::new(false));
    let (using, routes) = (is_used.clone(), TowerToHyperService::new(routes));
    let service = service_fn(move |request: Request<Incoming>| {
        using.store(true, Ordering::Relaxed);
        routes.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    if timeout(limits.first_head, connection.as_mut()).await.is_ok() || !is_used.load(Ordering::Relaxed) {
        return;
    }
    if timeout(limits.life, connection.as_mut()).await.is_ok() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.last_answer, connection).await;
}

#[cfg(test)]
mod tests;
