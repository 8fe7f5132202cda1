//! `ostro-operator run`: leads, watches, reconciles, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::args::RunArgs;
use crate::backoff::Backoff;
use crate::client::client;
use crate::contests::Contests;
use crate::discovery::Discovery;
use crate::http::{self, Health};
use crate::in_words::in_words;
use crate::inference_deployment::build::Defaults;
use crate::inference_deployment::children::{self, Scope};
use crate::inference_deployment::daemons::{Daemons, dial};
use crate::inference_deployment::{Context, Pace, Told, controller};
use crate::leader::Leader;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::watch_errors::Patience;

/// The lease ends by itself later; a pod has to end in 30 s.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// A process that begins anew reads anew how the API server is reached, such as whose certificates are good.
const REACH_LIMIT: Duration = Duration::from_secs(300);

pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    ostro_listen::raise_descriptors();
    let health = Health { readiness: Readiness::default(), metrics: Metrics::new() };
    let config =
        Config::infer().await.context("cannot find the cluster: no service account, no kubeconfig")?;
    let client = client(config, &health.metrics).context("cannot make a client")?;
    let mut http = tokio::spawn(http::serve(args.listen, health.clone()));
    let mut stopped = stop_signal()?;
    let version = tokio::select! {
        version = reached(&client) => version.context("cannot reach the API server")?,
        _ = stopped.changed() => return Ok(()),
        served = &mut http => return served.context("the HTTP server ended")?,
    };
    tracing::info!(kubernetes = version.git_version, version = env!("CARGO_PKG_VERSION"), "started");
    health.readiness.connected();
    let mut leader = Leader::new(client.clone(), &args.lease_namespace, &args.identity);
    tokio::select! {
        () = leader.acquire(&health.readiness) => {}
        _ = stopped.changed() => return Ok(()),
        served = http => return served.context("the HTTP server ended")?,
    }
    health.metrics.leading.set(1);
    let result = tokio::select! {
        () = lead(&args, client, health.clone(), stopped.clone()) => Ok(()),
        // Whoever leads now must not find this one at work.
        () = leader.hold() => bail!("the lease is lost"),
    };
    health.metrics.leading.set(0);
    if tokio::time::timeout(RELEASE_LIMIT, leader.release()).await.is_err() {
        tracing::warn!("cannot release the lease in {} s", RELEASE_LIMIT.as_secs());
    }
    result
}

/// Waits for the API server, and tells its version. Who ends at once is begun again ever later.
async fn reached(client: &Client) -> kube::Result<Info> {
    let until = Instant::now() + REACH_LIMIT;
    let mut patience = Patience::default();
    loop {
        match client.apiserver_version().await {
            Err(error) if Instant::now() < until => {
                tracing::warn!("cannot reach the API server; it is tried again: {}", in_words(&error));
            }
            reached => return reached,
        }
        tokio::time::sleep(patience.next().unwrap_or(REACH_LIMIT)).await;
    }
}

async fn lead(
    args: &RunArgs,
    client: Client,
    Health { readiness, metrics }: Health,
    mut stopped: watch::Receiver<bool>,
) {
    let scope = match &args.namespace {
        Some(namespace) => Scope::Namespace(namespace.clone()),
        None => Scope::Cluster,
    };
    let discovery = Discovery::new(client.clone(), metrics.clone());
    let (children, watches) = children::watch(&client, &scope, &discovery);
    let reporter =
        Reporter { controller: "ostro-operator".to_owned(), instance: Some(args.identity.clone()) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter.clone()),
        reporter,
        told: Told::default(),
        pace: Pace::default(),
        client,
        children,
        defaults: Defaults { image: args.image.clone() },
        daemons: Daemons::new(dial(), metrics.clone()),
        metrics,
        backoff: Backoff::default(),
        contests: Contests::default(),
        readiness,
    });
    let shutdown = async move {
        let _ = stopped.changed().await;
    };
    controller::run(context, &scope, (watches, discovery), shutdown).await;
}

/// Becomes true at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sender.send(true);
    });
    Ok(receiver)
}
