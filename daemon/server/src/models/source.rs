//! Where a model comes from: a name and a way to load it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use ostro_engine::{Engine, EngineOptions, LoadProgress, LoadStage};

use super::defaults;

use crate::validate::SamplingDefaults;

pub type LoadFailure = Box<dyn Error + Send + Sync>;
pub(super) type Load = Box<dyn FnOnce(&dyn Fn(Progress)) -> Result<Loaded, LoadFailure> + Send>;

/// A model to be loaded.
pub struct ModelSource {
    /// What requests call it.
    pub id: String,
    /// Other names that requests may use.
    pub aliases: Vec<String>,
    pub(super) load: Load,
}

impl ModelSource {
    /// `load` runs once, on a thread that may block; it reports how far it has come.
    pub fn new(
        id: impl Into<String>,
        load: impl FnOnce(&dyn Fn(Progress)) -> Result<Loaded, LoadFailure> + Send + 'static,
    ) -> ModelSource {
        ModelSource { id: id.into(), aliases: Vec::new(), load: Box::new(load) }
    }

    /// A model on this machine's disk.
    pub fn from_options(id: impl Into<String>, options: EngineOptions) -> ModelSource {
        ModelSource::new(id, move |report| {
            let defaults = defaults::read(&options.model)?;
            let engine = Engine::load(options, &|progress| report(progress.into()))?;
            Ok(Loaded { engine, defaults })
        })
    }

    /// Adds a name that requests may use.
    pub fn alias(mut self, alias: impl Into<String>) -> ModelSource {
        self.aliases.push(alias.into());
        self
    }
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSource")
            .field("id", &self.id)
            .field("aliases", &self.aliases)
            .finish_non_exhaustive()
    }
}

/// How far a model has come. `done` and `total` count bytes of the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Such as `asking the hub`, `download`, `read`, `pack`.
    pub stage: Cow<'static, str>,
    pub done: u64,
    /// 0 while unknown.
    pub total: u64,
}

impl Progress {
    pub fn fraction(&self) -> f32 {
        match self.total {
            0 => 0.0,
            total => (self.done as f64 / total as f64).clamp(0.0, 1.0) as f32,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.0} %", self.stage, f64::from(self.fraction()) * 100.0)
    }
}

impl From<LoadProgress> for Progress {
    fn from(progress: LoadProgress) -> Progress {
        let stage = match progress.stage {
            LoadStage::Read => "read",
            LoadStage::Pack => "pack",
            LoadStage::Cache => "cache",
            LoadStage::Ready => "ready",
        };
        Progress { stage: stage.into(), done: progress.done, total: progress.total }
    }
}

/// What a load gives.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub engine: Engine,
    /// What the model's own files say of sampling.
    pub defaults: SamplingDefaults,
}

impl From<Engine> for Loaded {
    fn from(engine: Engine) -> Loaded {
        Loaded { engine, defaults: SamplingDefaults::default() }
    }
}
