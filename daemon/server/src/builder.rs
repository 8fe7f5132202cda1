//! For embedding: an engine builder that loads models, a router builder that serves them inside another axum
//! application.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use ostro_engine::EngineOptions;
use ostro_engine::memory::MemoryLedger;

use crate::error::ApiError;
use crate::http::{RouterError, router};
use crate::models::{LedgerError, ModelSource, Models};
use crate::options::RouterOptions;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A model that failed to load.
    #[error(transparent)]
    Model(#[from] ApiError),
    #[error("the option {option} is not supported by this build")]
    NotSupported { option: &'static str },
}

/// Collects models and loads them.
#[derive(Debug, Default)]
pub struct EngineBuilder {
    sources: Vec<ModelSource>,
    default: Option<String>,
    memory: MemoryLedger,
}

impl EngineBuilder {
    pub fn new() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// A GGUF file or a model directory, under the name of its file.
    pub fn model(self, path: impl Into<PathBuf>) -> EngineBuilder {
        let path = path.into();
        let name =
            path.file_stem().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        self.model_with(name, EngineOptions::new(path))
    }

    /// A model under a name and with options of its own, but for the ledger of memory, which all models share.
    pub fn model_with(self, id: impl Into<String>, options: EngineOptions) -> EngineBuilder {
        let options = EngineOptions { memory: self.memory.clone(), ..options };
        self.source(ModelSource::from_options(id, options))
    }

    pub fn source(mut self, source: ModelSource) -> EngineBuilder {
        self.sources.push(source);
        self
    }

    /// The model that requests without one mean; the first by default.
    pub fn default_model(mut self, name: impl Into<String>) -> EngineBuilder {
        self.default = Some(name.into());
        self
    }

    /// Begins to load and returns at once: requests wait for their model within a bound.
    ///
    /// # Errors
    /// No model, a name used twice, or a default that is none of them.
    pub fn start(self) -> Result<Models, BuildError> {
        Ok(Models::load(self.sources, self.default.as_deref())?)
    }

    /// Loads all models.
    ///
    /// # Errors
    /// As `start`, or the first model that failed to load.
    pub async fn build(self) -> Result<Models, BuildError> {
        let models = self.start()?;
        models.loaded().await?;
        Ok(models)
    }
}

/// Makes the routes over loaded or loading models.
#[derive(Debug)]
pub struct RouterBuilder {
    models: Models,
    options: RouterOptions,
    not_supported: Option<&'static str>,
}

impl RouterBuilder {
    pub fn new(models: Models) -> RouterBuilder {
        RouterBuilder { models, options: RouterOptions::default(), not_supported: None }
    }

    /// All options at once.
    pub fn options(mut self, options: RouterOptions) -> RouterBuilder {
        self.options = options;
        self
    }

    /// Leaves out `/openapi.json` and `/docs`.
    pub fn without_docs_routes(mut self) -> RouterBuilder {
        self.options.docs = false;
        self
    }

    /// Put before every route, such as `/ai`. Not needed for a router that is nested.
    pub fn base_path(mut self, path: impl Into<String>) -> RouterBuilder {
        self.options.base_path = path.into();
        self
    }

    /// Origins that browsers may call from; any by default, and with `*`.
    pub fn allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> RouterBuilder {
        self.options.allowed_origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// In bytes; 50 MiB by default.
    pub fn body_limit(mut self, bytes: usize) -> RouterBuilder {
        self.options.body_bytes_max = bytes;
        self
    }

    /// How long a request waits for a model that still loads.
    pub fn load_wait(mut self, wait: Duration) -> RouterBuilder {
        self.options.load_wait = wait;
        self
    }

    /// Not supported yet: `build` says so.
    pub fn max_tool_rounds(mut self, _rounds: usize) -> RouterBuilder {
        self.not_supported = Some("max_tool_rounds");
        self
    }

    /// Not supported yet: `build` says so.
    pub fn tool_dispatch_url(mut self, _url: impl Into<String>) -> RouterBuilder {
        self.not_supported = Some("tool_dispatch_url");
        self
    }

    /// # Errors
    /// An option that cannot be honoured.
    pub fn build(self) -> Result<Router, BuildError> {
        if let Some(option) = self.not_supported {
            return Err(BuildError::NotSupported { option });
        }
        Ok(router(self.models, self.options)?.0)
    }
}
