//! `ostro serve`: opens the port, loads the models behind it, and drains when it is told to stop.

use anyhow::Context;
use ostro_server::error::ApiError;
use ostro_server::weights::HubOptions;
use ostro_server::{ModelSource, Models, Server};
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::failure::Failure;
use crate::hub::hub_options;
use crate::load::load;
use crate::translate::{ModelPlan, Plan};

pub(super) fn run(plan: Plan, environment: &Environment) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(serve(plan, environment));
    // A model that still loads must not hold the process back.
    runtime.shutdown_background();
    result
}

async fn serve(plan: Plan, environment: &Environment) -> Result<(), Failure> {
    let mut sources = Vec::new();
    for model in plan.models {
        let hub = hub_options(environment, &plan.token_source, model.hub_cache.clone())?;
        sources.push(source(model, hub));
    }
    let models = Models::load(sources, plan.default_model.as_deref()).context("cannot load the models")?;
    let server = Server::bind(plan.server, models.clone()).await.context("cannot serve")?;
    let stop = stop_signal()?;
    let mut failed = None;
    let shutdown = async {
        tokio::select! {
            () = stop => {}
            error = load_failure(&models) => failed = Some(error),
        }
    };
    server.run(shutdown).await;
    match failed {
        Some(error) => Err(Failure::Runtime(error)),
        None => Ok(()),
    }
}

/// Ready when a model failed to load; the error carries why.
async fn load_failure(models: &Models) -> anyhow::Error {
    match models.loaded().await {
        // The reason names the model itself.
        Err(ApiError::LoadFailed { reason, .. }) => anyhow::Error::msg(reason),
        Err(error) => anyhow::Error::new(error),
        Ok(()) => std::future::pending().await,
    }
}

fn source(plan: ModelPlan, hub: HubOptions) -> ModelSource {
    ModelSource::new(plan.id.clone(), move |progress| Ok(load(plan, &hub, progress)?))
}

/// Ready at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
