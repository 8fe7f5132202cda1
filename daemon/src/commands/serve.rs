//! `ostro serve`: opens the port, loads the models behind it, and drains when it is told to stop.

use std::time::Duration;

use anyhow::Context;
use ostro_listen::raise_descriptors;
use ostro_server::error::ApiError;
use ostro_server::models::DEFAULT;
use ostro_server::weights::{ModelLocation, name_of_path};
use ostro_server::{ModelSource, Models, Port, Server};
use tokio::sync::oneshot;

use super::stop::Stop;
use crate::environment::{Environment, is_on};
use crate::failure::Failure;
use crate::hub::hub_options;
use crate::load::{load, location, with_later};
use crate::translate::{ModelPlan, Plan};

/// Descriptors that are kept for what are no connections of clients: weights, logs, downloads, the runtime.
const FILES: u64 = 128;
/// For engines' threads to end, which are idle once all is answered.
const STEP_TIME: Duration = Duration::from_secs(2);

/// Of a server's models, once none loads any more.
#[derive(Clone, Copy)]
enum Wanted {
    Any,
    All,
}

pub(super) fn run(plan: Plan, environment: &Environment) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(serve(plan, environment));
    // A model that still loads must not hold the process back.
    runtime.shutdown_background();
    result
}

async fn serve(mut plan: Plan, environment: &Environment) -> Result<(), Failure> {
    let wanted = match is_on("OSTRO_ALL_MODELS", environment.all_models.as_deref())? {
        true => Wanted::All,
        false => Wanted::Any,
    };
    let names = public_names(&plan.models);
    let hub = |model: &ModelPlan| hub_options(environment, &plan.token_source, model.hub_cache.clone());
    let planned: Vec<_> =
        plan.models.into_iter().map(|model| Ok((hub(&model)?, model))).collect::<Result<_, Failure>>()?;
    let mut sources = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let (hub, model) = planned[index].clone();
        let later = planned[index + 1..].to_vec();
        let path = (name != model.id).then(|| model.id.clone());
        let source =
            ModelSource::new(name, move |progress| Ok(load(with_later(model, &later), &hub, progress)?));
        // Who knows the path may go on using it.
        sources.push(path.into_iter().fold(source, ModelSource::alias));
    }
    plan.server.connections_max = bound_connections(plan.server.connections_max);
    let port = Port::open(&plan.server.host, plan.server.port).await.context("cannot serve")?;
    let models = Models::load(sources, plan.default_model.as_deref()).context("cannot load the models")?;
    let server = Server::on(port, plan.server, models.clone()).context("cannot serve")?;
    let (stop, stopped) = oneshot::channel();
    let stopped_twice = stopped_twice(stop)?;
    let mut failed = None;
    let shutdown = async {
        tokio::select! {
            _ = stopped => {}
            error = too_few(&models, wanted) => failed = Some(error),
        }
    };
    tokio::select! {
        () = server.run(shutdown) => {}
        () = stopped_twice => return Err(Failure::Interrupted),
    }
    // Dropped, they would wait for an engine that stands still.
    models.shutdown_within(STEP_TIME).await;
    match failed {
        Some(error) => Err(Failure::Runtime(error)),
        None => Ok(()),
    }
}

/// Ready when every model failed to load, or one where all are wanted; the error carries why. While the others answer, its
/// failure shows in the log, in `/v1/models` and in the answers of those who ask for it.
async fn too_few(models: &Models, wanted: Wanted) -> anyhow::Error {
    let loaded = match wanted {
        Wanted::Any => models.any_loaded().await,
        Wanted::All => models.all_loaded().await,
    };
    match loaded {
        // The reason names the model itself.
        Err(ApiError::LoadFailed { reason, .. }) => anyhow::Error::msg(reason),
        Err(error) => anyhow::Error::new(error),
        Ok(()) => std::future::pending().await,
    }
}

/// What clients call the models: a hub id, or the last part of a path. Paths whose last parts are alike stay whole; so
/// does one among others that would be called `default`, which means the default model.
fn public_names(models: &[ModelPlan]) -> Vec<String> {
    let short: Vec<&str> = models.iter().map(short_name).collect();
    let is_taken = |name: &str| {
        let is_reserved = name == DEFAULT && models.len() > 1;
        is_reserved || short.iter().filter(|other| **other == name).count() > 1
    };
    let name = |(model, name): (&ModelPlan, &&str)| match is_taken(name) {
        true => model.id.clone(),
        false => (*name).to_owned(),
    };
    models.iter().zip(&short).map(name).collect()
}

fn short_name(model: &ModelPlan) -> &str {
    match location(model) {
        ModelLocation::Path(_) => name_of_path(&model.id).unwrap_or(&model.id),
        ModelLocation::Hub(_) => &model.id,
    }
}

/// No more of them than the process may have open: without a descriptor left, nobody is answered.
fn bound_connections(wanted: usize) -> usize {
    let descriptors_max = raise_descriptors();
    let connections_max = connections_within(descriptors_max, wanted);
    if connections_max < wanted {
        tracing::warn!(
            descriptors_max,
            connections_max,
            wanted,
            "the limit of open files (ulimit -n) allows fewer connections"
        );
    }
    connections_max
}

/// Where descriptors are very few, half of them.
fn connections_within(descriptors_max: Option<u64>, wanted: usize) -> usize {
    let Some(descriptors_max) = descriptors_max else { return wanted };
    let room = descriptors_max - FILES.min(descriptors_max / 2);
    usize::try_from(room).unwrap_or(usize::MAX).min(wanted)
}

/// Sends `stop` at the first SIGTERM or SIGINT; ready at a SIGINT after it: who presses Ctrl-C twice does not want to
/// wait. A second SIGTERM is none: a kubelet that restarts, or `timeout`, sends it again.
fn stopped_twice(stop: oneshot::Sender<()>) -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = Stop::listen()?;
    Ok(async move {
        signals.told().await;
        // Nobody waits for it when the server has ended by itself.
        let _ = stop.send(());
        signals.interrupted().await;
        tracing::warn!("stopped a second time: running answers are lost");
    })
}

#[cfg(test)]
mod tests {
    use ostro_engine::DeviceChoice;

    use super::*;
    use crate::translate::plan;

    #[test]
    fn connections_leave_descriptors_for_files() {
        let check = |limit, expected| assert_eq!(connections_within(limit, 16_384), expected, "{limit:?}");
        for (limit, expected) in
            [(1, 1), (100, 50), (256, 128), (1024, 896), (16_511, 16_383), (1 << 20, 16_384)]
        {
            check(Some(limit), expected);
        }
        check(None, 16_384);
    }

    #[test]
    fn models_are_called_by_id_or_by_the_end_of_their_path() {
        let names_in = |file: &str, ids: &[&str]| {
            let models: String = ids.iter().map(|id| format!("[[models]]\nmodel_id = {id:?}\n")).collect();
            let loaded = ostro_config::Loaded::from_toml(file, &models).unwrap();
            public_names(&plan(loaded, None, DeviceChoice::Auto).models)
        };
        let names = |ids: &[&str]| names_in("a.toml", ids);
        assert_eq!(names(&["/models/a.gguf", "org/b", "./c"]), ["a", "org/b", "c"]);
        assert_eq!(names(&["/v1/a.gguf", "/v2/a.gguf", "/v2/b.gguf"]), ["/v1/a.gguf", "/v2/a.gguf", "b"]);
        assert_eq!(names(&["/v1/a.gguf", "/v1/default.gguf"]), ["a", "/v1/default.gguf"]);
        assert_eq!(names(&["/v1/default.gguf"]), ["default"]);
        // A folder of the directory that tests work in, and a hub id to a file elsewhere.
        assert_eq!(names(&["src/commands"]), ["commands"]);
        assert_eq!(names_in("/elsewhere/a.toml", &["src/commands"]), ["src/commands"]);
    }
}
