//! The ledger of models: which there are, what state each is in, and what a request's `model` means.
//!
//! Models load one after another on one thread of their own while the port is open already; requests to a model
//! that still loads wait within a bound.

mod defaults;
mod source;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ostro_engine::{Engine, EngineHealth};
use tokio::sync::{oneshot, watch};

use crate::error::{ApiError, bounded};
use crate::openai::models::{ModelCard, ModelStatus};
use crate::validate::SamplingDefaults;

pub use defaults::{DefaultsError, checked as checked_sampling_defaults, read as read_sampling_defaults};
pub use source::{LoadFailure, Loaded, ModelSource, Progress};

/// The name that always means the default model, also where another one is called so.
pub const DEFAULT: &str = "default";

/// Cheap to clone. Holds at least one model.
#[derive(Clone, Debug)]
pub struct Models {
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    models: Vec<Arc<Model>>,
    default: usize,
}

/// One model of the ledger.
#[derive(Debug)]
pub struct Model {
    pub id: Arc<str>,
    aliases: Vec<String>,
    /// Unix seconds.
    created: u64,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug)]
enum State {
    Loading(Progress),
    Loaded(LoadedModel),
    Failed(String),
}

/// A model that can answer.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    pub id: Arc<str>,
    pub engine: Engine,
    /// What the model's own files say of sampling.
    pub defaults: SamplingDefaults,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LedgerError {
    #[error("there is no model to serve")]
    Empty,
    #[error("the name {0:?} belongs to two models")]
    Duplicate(String),
    #[error("the default model {0:?} is not among the models")]
    UnknownDefault(String),
    #[error("cannot start the thread that loads models: {0}")]
    Thread(String),
}

impl Models {
    /// Starts to load `sources` in their order. `default` is an id or alias; without it the first is the default.
    ///
    /// # Errors
    /// No source, a name used twice, or a default that is none of them.
    pub fn load(sources: Vec<ModelSource>, default: Option<&str>) -> Result<Models, LedgerError> {
        let (models, loads): (Vec<_>, Vec<_>) =
            sources.into_iter().map(|source| (Arc::new(Model::new(&source)), source.load)).unzip();
        let models = Models { ledger: Arc::new(Ledger::new(models, default)?) };
        let work: Vec<_> = models.ledger.models.iter().cloned().zip(loads).collect();
        // Not a task: loading computes, and the process must be able to end while it does.
        std::thread::Builder::new()
            .name("ostro-load".into())
            .spawn(move || work.into_iter().for_each(|(model, load)| model.load(load)))
            .map_err(|error| LedgerError::Thread(error.to_string()))?;
        Ok(models)
    }

    /// Every model, the default one first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        let (before, rest) = self.ledger.models.split_at(self.ledger.default);
        rest.iter().take(1).chain(before).chain(rest.iter().skip(1))
    }

    /// The model that a request means by `name`.
    ///
    /// # Errors
    /// There is no such model.
    pub fn resolve(&self, name: Option<&str>) -> Result<&Arc<Model>, ApiError> {
        let default = &self.ledger.models[self.ledger.default];
        let Some(name) = name.filter(|name| !name.is_empty() && *name != DEFAULT) else { return Ok(default) };
        self.ledger.models.iter().find(|model| model.is_called(name)).ok_or_else(|| {
            let ids: Vec<&str> = self.iter().map(|model| model.id.as_ref()).collect();
            ApiError::unknown_model(name, &ids.join(", "))
        })
    }

    /// Waits until every model is loaded.
    ///
    /// # Errors
    /// The first model that failed.
    pub async fn loaded(&self) -> Result<(), ApiError> {
        for model in self.iter() {
            model.ready(Duration::MAX).await?;
        }
        Ok(())
    }

    /// Waits until every model is loaded or has failed.
    ///
    /// # Errors
    /// None was loaded; why the default one was not.
    pub async fn any_loaded(&self) -> Result<(), ApiError> {
        match self.settled().await {
            (0, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Ready once every model is loaded or has failed.
    ///
    /// # Errors
    /// One was not loaded; why the first was not, the default one before others.
    pub async fn all_loaded(&self) -> Result<(), ApiError> {
        self.settled().await.1.map_or(Ok(()), Err)
    }

    /// How many models are loaded once all are settled, and why the first of the others is not.
    async fn settled(&self) -> (usize, Option<ApiError>) {
        let (mut loaded, mut first) = (0, None);
        for model in self.iter() {
            match model.ready(Duration::MAX).await {
                Ok(_) => loaded += 1,
                Err(error) => first = first.or(Some(error)),
            }
        }
        (loaded, first)
    }

    /// Ends every engine, after its step; what runs on them fails. One that stands still is left after `limit`: the process
    /// can end without it.
    pub async fn shutdown_within(&self, limit: Duration) {
        let mut running = Vec::new();
        for LoadedModel { engine, .. } in self.iter().filter_map(|model| model.loaded()) {
            let (done, ended) = oneshot::channel();
            // No task of the runtime, which waits for such at its own end.
            let started = std::thread::Builder::new().spawn(move || {
                engine.shutdown();
                let _ = done.send(());
            });
            match started {
                Ok(_) => running.push(ended),
                Err(error) => tracing::error!(%error, "no thread to end an engine"),
            }
        }
        if tokio::time::timeout(limit, futures::future::join_all(running)).await.is_err() {
            tracing::error!(limit_s = limit.as_secs_f64(), "an engine's step does not end; left as it is");
        }
    }
}

impl Ledger {
    fn new(models: Vec<Arc<Model>>, default: Option<&str>) -> Result<Ledger, LedgerError> {
        if models.is_empty() {
            return Err(LedgerError::Empty);
        }
        let mut names: Vec<&str> = models.iter().flat_map(|model| model.names()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LedgerError::Duplicate(pair[0].to_owned()));
        }
        let default = match default {
            None => 0,
            Some(name) => models
                .iter()
                .position(|model| model.is_called(name))
                .ok_or_else(|| LedgerError::UnknownDefault(name.to_owned()))?,
        };
        Ok(Ledger { models, default })
    }
}

impl Model {
    fn new(source: &ModelSource) -> Model {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        Model {
            id: source.id.as_str().into(),
            aliases: source.aliases.clone(),
            created,
            state: watch::Sender::new(State::Loading(Progress {
                stage: "waiting".into(),
                done: 0,
                total: 0,
            })),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_ref()).chain(self.aliases.iter().map(String::as_str))
    }

    fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// The model once it is loaded, waiting for `limit` at most.
    ///
    /// # Errors
    /// It still loads, or it failed.
    pub async fn ready(&self, limit: Duration) -> Result<LoadedModel, ApiError> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Loading(_)));
        let state = match tokio::time::timeout(limit, settled).await {
            Ok(Ok(state)) => state.clone(),
            _ => self.state.borrow().clone(),
        };
        match state {
            State::Loaded(loaded) => Ok(loaded),
            State::Failed(reason) => Err(ApiError::LoadFailed { model: self.id.to_string(), reason }),
            State::Loading(progress) => Err(ApiError::Loading {
                model: self.id.to_string(),
                progress: progress.to_string(),
                retry_after: Duration::from_secs(5),
            }),
        }
    }

    /// The model if it is loaded now.
    pub fn loaded(&self) -> Option<LoadedModel> {
        match &*self.state.borrow() {
            State::Loaded(loaded) => Some(loaded.clone()),
            _ => None,
        }
    }

    /// As `/v1/models` shows it.
    pub fn card(&self) -> ModelCard {
        let mut card = ModelCard {
            id: self.id.to_string(),
            object: "model",
            created: self.created,
            owned_by: "ostro",
            status: ModelStatus::Loading,
            progress: None,
            stage: None,
            error: None,
            max_model_len: None,
            device: None,
            aliases: self.aliases.clone(),
        };
        match &*self.state.borrow() {
            State::Loading(progress) => {
                card.progress = Some(progress.fraction());
                card.stage = Some(progress.stage.to_string());
            }
            State::Loaded(loaded) => {
                let info = loaded.engine.info();
                card.max_model_len = Some(info.context_len);
                match loaded.engine.stats().health {
                    EngineHealth::Failed(reason) => {
                        card.status = ModelStatus::Failed;
                        card.error = Some(reason);
                    }
                    EngineHealth::Running | EngineHealth::Stopped => {
                        card.status = ModelStatus::Loaded;
                        card.device = Some((&info.device).into());
                    }
                }
            }
            State::Failed(reason) => {
                card.status = ModelStatus::Failed;
                card.error = Some(reason.clone());
            }
        }
        card
    }

    /// It was loaded and answers nothing any more; only a new process mends that.
    pub fn is_broken(&self) -> bool {
        match &*self.state.borrow() {
            State::Loaded(loaded) => matches!(loaded.engine.stats().health, EngineHealth::Failed(_)),
            State::Loading(_) | State::Failed(_) => false,
        }
    }

    fn load(&self, load: source::Load) {
        tracing::info!(model = %self.id, "loading");
        let progress = |progress| {
            self.state.send_replace(State::Loading(progress));
        };
        // A defect in a loader must not leave the model loading for ever.
        let load = std::panic::AssertUnwindSafe(|| load(&progress));
        // What the engine logs names its model, as long as it runs.
        let span = tracing::error_span!("model", id = %self.id);
        let loaded = span.in_scope(|| std::panic::catch_unwind(load));
        let state = match loaded {
            Ok(Ok(loaded)) => {
                let seconds = loaded.engine.info().load_seconds;
                tracing::info!(model = %self.id, seconds, "loaded");
                State::Loaded(LoadedModel {
                    id: self.id.clone(),
                    engine: loaded.engine,
                    defaults: loaded.defaults,
                })
            }
            Ok(Err(failure)) => self.failed(chain(failure.as_ref())),
            Err(_) => self.failed("the loader panicked; the log has more".to_owned()),
        };
        self.state.send_replace(state);
    }

    fn failed(&self, reason: String) -> State {
        tracing::error!(model = %self.id, reason, "the model did not load");
        State::Failed(bounded(reason))
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
