//! Listens, serves and shuts down: the life of the process' port.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::{App, RouterError, router};
use crate::models::Models;
use crate::options::ServerOptions;

/// Time for a connection to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;
/// After running answers were cancelled: for their last bytes to leave.
const CANCEL_TIME: Duration = Duration::from_secs(2);
/// For the payload log's last lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(5);
/// Before the next try, when no connection could be accepted (usually: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {host}:{port}")]
    Bind { host: String, port: u16, source: io::Error },
    #[error(transparent)]
    Router(#[from] RouterError),
}

/// A port that is open, and what will be served on it.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    app: App,
    options: ServerOptions,
}

/// Serves `models` until `shutdown` is ready; then running answers finish within the grace period.
///
/// # Errors
/// The port cannot be opened, or an option cannot be honoured.
pub async fn serve(
    options: ServerOptions,
    models: Models,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Server::bind(options, models).await?.run(shutdown).await;
    Ok(())
}

impl Server {
    /// Opens the port; connections are accepted by `run`.
    ///
    /// # Errors
    /// The port cannot be opened, or an option cannot be honoured.
    pub async fn bind(options: ServerOptions, models: Models) -> Result<Server, ServeError> {
        let (router, app) = router(models, options.router.clone())?;
        let failed = |source| ServeError::Bind { host: options.host.clone(), port: options.port, source };
        let listener = TcpListener::bind((options.host.as_str(), options.port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Server { listener, address, router, app, options })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then ends: nothing is accepted any more, running answers get the grace
    /// period, what is left is cancelled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Server { listener, address, router, app, options } = self;
        tracing::info!(%address, "listening");
        let connections = GracefulShutdown::new();
        accept(listener, &router, &connections, (options.connections_max, shutdown)).await;
        tracing::info!(connections = connections.count(), "shutting down");
        app.admission.close();
        let mut drained = pin!(connections.shutdown());
        if tokio::time::timeout(options.grace, &mut drained).await.is_err() {
            tracing::warn!(
                grace_s = options.grace.as_secs_f64(),
                "the grace period is over, cancelling answers"
            );
            // Waits for the engines' threads, which finish their step first.
            let engines = app.models.clone();
            let _ = tokio::task::spawn_blocking(move || engines.shutdown()).await;
            let _ = tokio::time::timeout(CANCEL_TIME, drained).await;
        }
        if let Some(log) = app.payload_log.clone() {
            let _ = tokio::task::spawn_blocking(move || log.flush(FLUSH_TIME)).await;
        }
        tracing::info!("stopped");
    }
}

/// Accepts until `shutdown` is ready; the port closes with the listener.
async fn accept(
    listener: TcpListener,
    router: &Router,
    connections: &GracefulShutdown,
    (connections_max, shutdown): (usize, impl Future<Output = ()>),
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = &mut shutdown => return,
        };
        match accepted {
            Ok((socket, _)) => spawn(socket, router.clone(), connections, place),
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn spawn(socket: TcpStream, router: Router, connections: &GracefulShutdown, place: OwnedSemaphorePermit) {
    // Tokens leave one by one; waiting to fill packets would hold them back.
    let _ = socket.set_nodelay(true);
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
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(socket), service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection broke");
        }
        drop(place);
    });
}
