//! From a model's name to an engine: find or download its files, read what they say of sampling, load.

use std::path::{Path, PathBuf};

use ostro_config::WeightFormat;
use ostro_engine::{Engine, EngineOptions, LoadError};
use ostro_server::Progress;
use ostro_server::models::{DefaultsError, Loaded, read_sampling_defaults};
use ostro_server::weights::{HubOptions, ModelReference, WeightsError, resolve_model};

use crate::translate::ModelPlan;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error("cannot find the model {id:?}")]
    Find { id: String, source: WeightsError },
    #[error("{} is {found}, but the format is {wanted}", path.display())]
    Format { path: PathBuf, found: &'static str, wanted: &'static str },
    #[error(transparent)]
    Defaults(#[from] DefaultsError),
    #[error("cannot load the model {id:?}")]
    Load { id: String, source: Box<LoadError> },
}

/// Blocks until the model can answer.
pub(crate) fn load(
    plan: ModelPlan,
    hub: &HubOptions,
    progress: &dyn Fn(Progress),
) -> Result<Loaded, ModelError> {
    let ModelPlan { id, revision, format, file, hub_cache: _, engine, seed } = plan;
    let reference = ModelReference { model: id.clone(), quantized_file: file, revision };
    let resolved = resolve_model(&reference, hub, &|step| {
        progress(Progress { stage: "download".into(), done: step.done, total: step.total });
    });
    let path = resolved.map_err(|source| ModelError::Find { id: id.clone(), source })?.path;
    check_format(format, &path)?;
    let mut defaults = read_sampling_defaults(&path)?;
    defaults.seed = seed;
    let options = EngineOptions { model: path, ..engine };
    let engine = Engine::load(options, &|step| progress(step.into()))
        .map_err(|source| ModelError::Load { id, source: Box::new(source) })?;
    Ok(Loaded { engine, defaults })
}

fn check_format(format: Option<WeightFormat>, path: &Path) -> Result<(), ModelError> {
    let (found, wanted) = match (format, path.is_dir()) {
        (Some(WeightFormat::Plain), false) => ("a file", "plain, which is a directory"),
        (Some(WeightFormat::Gguf), true) => ("a directory", "gguf, which is a file"),
        _ => return Ok(()),
    };
    Err(ModelError::Format { path: path.to_owned(), found, wanted })
}
