//! Listens, serves and shuts down: the life of the process' port.

mod activity;
mod connection;
mod head;
mod held;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ostro_listen::{Seldom, without_ipv6};
use prometheus_client::metrics::family::Family;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::connection::Responder;
use self::held::Held;
use crate::admission::Admission;
use crate::http::{App, RouterError, router};
use crate::models::Models;
use crate::options::ServerOptions;

/// After running answers were cancelled: for their last bytes to leave.
const CANCEL_TIME: Duration = Duration::from_secs(2);
/// After that: for engines' threads to finish their step.
const STEP_TIME: Duration = Duration::from_secs(2);
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

/// An open port; connections wait until a server accepts them.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

/// A port, and what will be served on it.
pub struct Server {
    port: Port,
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

impl Port {
    /// # Errors
    /// It cannot be opened: it is taken, or the host is not of this machine.
    pub async fn open(host: &str, port: u16) -> Result<Port, ServeError> {
        let failed = |source| ServeError::Bind { host: host.to_owned(), port, source };
        let mut listener = TcpListener::bind((host, port)).await;
        if let (Err(refused), Ok(ip)) = (&listener, host.parse::<IpAddr>())
            && let Some(any) = without_ipv6(SocketAddr::from((ip, port)), refused)
        {
            listener = TcpListener::bind(any).await;
        }
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Port { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// On an open port, until it is dropped.
pub(crate) async fn answer_all(
    Port { listener, address }: Port,
    (router, admission): (Router, Admission),
    options: &ServerOptions,
) {
    tracing::info!(%address, "listening");
    // Without metrics.
    let responder = Responder { router, admission, heads_refused: Family::default() };
    accept(listener, &responder, &TaskTracker::new(), options, std::future::pending()).await;
}

impl Server {
    /// Opens the port; connections are accepted by `run`.
    ///
    /// # Errors
    /// The port cannot be opened, or an option cannot be honoured.
    pub async fn bind(options: ServerOptions, models: Models) -> Result<Server, ServeError> {
        let port = Port::open(&options.host, options.port).await?;
        Server::on(port, options, models)
    }

    /// As `bind`, on a port that is open already: so a port that is taken shows before models load.
    ///
    /// # Errors
    /// An option cannot be honoured.
    pub fn on(port: Port, options: ServerOptions, models: Models) -> Result<Server, ServeError> {
        let (router, app) = router(models, options.router.clone())?;
        Ok(Server { port, router, app, options })
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Serves until `shutdown` is ready, then ends: nothing is accepted any more, open connections may bring a last
    /// request, running answers get the grace period, what is left is cancelled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Server { port: Port { listener, address }, router, app, options } = self;
        tracing::info!(%address, "listening");
        let connections = TaskTracker::new();
        let (admission, heads_refused) = (app.admission.clone(), app.metrics.heads_refused.clone());
        let responder = Responder { router, admission, heads_refused };
        accept(listener, &responder, &connections, &options, shutdown).await;
        tracing::info!(connections = connections.len(), "shutting down");
        app.admission.leave();
        connections.close();
        if tokio::time::timeout(options.grace, connections.wait()).await.is_err() {
            app.admission.close();
            tracing::warn!(
                grace_s = options.grace.as_secs_f64(),
                "the grace period is over, cancelling answers"
            );
            let _ = tokio::time::timeout(CANCEL_TIME, connections.wait()).await;
            app.models.shutdown_within(STEP_TIME).await;
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
    responder: &Responder,
    connections: &TaskTracker,
    options: &ServerOptions,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(options.connections_max));
    let mut shutdown = pin!(shutdown);
    let mut failures = Seldom::default();
    let mut held = Held::default();
    loop {
        let next = async {
            let socket = listener.accept().await?.0;
            Ok::<_, io::Error>((socket, held.place(&places).await))
        };
        let accepted = tokio::select! {
            next = next => next,
            () = &mut shutdown => return,
        };
        match accepted {
            Ok((socket, place)) => {
                let limits = connection::Limits::new(place, options);
                held.add(&connection::spawn(socket, responder.clone(), connections, limits));
            }
            Err(error) => {
                if let Some(failures) = failures.note() {
                    tracing::warn!(%error, failures, "no connection could be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
