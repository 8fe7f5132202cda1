//! The client of the API server: kube's own, but for the memory of its connections and lists, with limits of time, and with
//! the operator's counts and warnings in place of its traces. Left to itself hyper reads up to 400 KiB at once where an
//! answer is long, as a list is, and keeps that with every connection; and it keeps all connections that were ever needed at
//! the same time.

use std::time::Duration;

use anyhow::{Context, ensure};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use rustls::crypto::aws_lc_rs;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

use crate::api_calls::CountCalls;
use crate::call_limit::LimitCalls;
use crate::metrics::Metrics;
use crate::short_pages::ShortPages;

/// Also the most that headers may take: an API server's warnings are up to 4096 characters, of up to four bytes each.
const READ_BYTES: usize = 16 << 10;
/// Of a connection. The one that renews the lease is used more often, so that there is always one to take.
const IDLE: Duration = Duration::from_secs(10);

/// After which a connection's other end is asked whether it is there, so often and at most so many times.
const SILENCE: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Counts what is asked, each try by itself.
///
/// # Errors
/// The configuration's certificates or credentials cannot be used, or it wants a proxy.
pub(crate) fn client(config: Config, metrics: &Metrics) -> anyhow::Result<Client> {
    ensure!(config.proxy_url.is_none(), "the API server cannot be reached through a proxy");
    // Fails where there is one already, which is as good.
    let _ = aws_lc_rs::default_provider().install_default();
    let connector = config.rustls_https_connector_with_connector(connector()).context("cannot set up TLS")?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: Http<_, Body> = Http::builder(TokioExecutor::new())
        .http1_read_buf_exact_size(READ_BYTES)
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector);
    let service = ServiceBuilder::new()
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .layer(ShortPages::new(metrics.shortened.clone()))
        // Below the retries, and above what puts the API server's own path in front of a call's.
        .layer(CountCalls::new(metrics.clone()))
        .layer(LimitCalls)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context("cannot use the credentials")?)
        .layer(config.extra_headers_layer().context("cannot use the headers")?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Of connections that tell when nobody is at their other end, as after a node or a load balancer was lost: a watch would
/// wait for its next event for minutes, a call for the kernel to give up sending for a quarter of an hour.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS is above it.
    connector.enforce_http(false);
    connector.set_keepalive(Some(SILENCE));
    connector.set_keepalive_interval(Some(PROBE_INTERVAL));
    connector.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(SILENCE + PROBE_INTERVAL * PROBES));
    connector
}

#[cfg(test)]
mod tests;
