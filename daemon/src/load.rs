//! From a model's name to an engine: find or download its files, read what they say of sampling, load.

use std::path::{Path, PathBuf};

use ostro_config::{Problem, WeightFormat};
use ostro_engine::device::NoGpu;
use ostro_engine::{Engine, EngineOptions, LoadError, ModelInfo};
use ostro_server::Progress;
use ostro_server::models::{DefaultsError, Loaded, checked_sampling_defaults, read_sampling_defaults};
use ostro_server::validate::SamplingDefaults;
use ostro_server::weights::{
    Format, HubMode, HubOptions, ModelLocation, ModelReference, WeightsError, is_of_hub, resolve_model,
};

use crate::gpu;
use crate::refusal::Origins;
use crate::translate::ModelPlan;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error("cannot load the model {id:?}: OSTRO_REQUIRE_GPU is set, but {reason}; {}", gpu::remedy(reason))]
    NoGpu { id: String, reason: NoGpu },
    #[error("cannot find the model {id:?}")]
    Find { id: String, source: WeightsError },
    #[error("{} is a file, but the format is plain, which is a directory", .0.display())]
    Format(PathBuf),
    #[error(transparent)]
    Defaults(#[from] DefaultsError),
    #[error("cannot load the model {id:?}")]
    Load { id: String, source: Box<LoadError> },
    #[error("cannot load the model {id:?}: {problem}")]
    Refused { id: String, problem: Box<Problem> },
}

/// Blocks until the model can answer.
pub(crate) fn load(
    plan: ModelPlan,
    hub: &HubOptions,
    progress: &dyn Fn(Progress),
) -> Result<Loaded, ModelError> {
    gpu::check(plan.engine.device).map_err(|reason| ModelError::NoGpu { id: plan.id.clone(), reason })?;
    let path = find(&plan, hub, progress)?;
    let ModelPlan { id, engine, seed, origins, .. } = plan;
    let beside = SamplingDefaults { seed, ..read_sampling_defaults(&path)? };
    let options = EngineOptions { model: path.clone(), ..engine };
    let engine = Engine::load(options, &|step| progress(step.into()));
    let engine = engine.map_err(|error| not_loaded(&id, error, &origins))?;
    let published = checked_sampling_defaults(&path, &engine.info().published_sampling);
    let published = published.unwrap_or_else(|error| {
        tracing::warn!(model = id, %error, "what the file says of sampling is not used");
        SamplingDefaults::default()
    });
    let defaults = beside.or(published);
    tell(&id, engine.info());
    Ok(Loaded { engine, defaults })
}

/// The model, told of those that are loaded after it. Nothing is downloaded to look at them.
pub(crate) fn with_later(plan: ModelPlan, later: &[(HubOptions, ModelPlan)]) -> ModelPlan {
    let options = |(hub, later): &(HubOptions, ModelPlan)| {
        let offline = HubOptions { mode: HubMode::Offline, ..hub.clone() };
        // Without a path it counts as one whose size is not known.
        let model = find(later, &offline, &|_| ()).unwrap_or_default();
        EngineOptions { model, ..later.engine.clone() }
    };
    let later = later.iter().map(options).collect();
    ModelPlan { engine: EngineOptions { later, ..plan.engine }, ..plan }
}

/// Blocks until its files are on this machine, and tells where.
pub(crate) fn find(
    plan: &ModelPlan,
    hub: &HubOptions,
    progress: &dyn Fn(Progress),
) -> Result<PathBuf, ModelError> {
    let ModelPlan { id, format, .. } = plan;
    let reference = reference(plan);
    if is_of_hub(&reference, hub) {
        // Which may take its time to answer.
        progress(Progress { stage: "asking the hub".into(), done: 0, total: 0 });
    }
    let resolved = resolve_model(&reference, hub, &|step| {
        progress(Progress { stage: "download".into(), done: step.done, total: step.total });
    });
    let path = resolved.map_err(|source| ModelError::Find { id: id.clone(), source })?.path;
    check_format(*format, &path)?;
    Ok(path)
}

pub(crate) fn reference(plan: &ModelPlan) -> ModelReference {
    let ModelPlan { revision, file, format, .. } = plan;
    let format = format.and_then(|format| match format {
        WeightFormat::Plain => Some(Format::Plain),
        WeightFormat::Gguf => Some(Format::Gguf),
        WeightFormat::Ggml => None,
    });
    ModelReference { model: location(plan), quantized_file: file.clone(), revision: revision.clone(), format }
}

/// Also of its weights, its need of caches and its public name.
pub(crate) fn location(plan: &ModelPlan) -> ModelLocation {
    ModelLocation::of(&plan.id, plan.folder.as_deref())
}

fn not_loaded(id: &str, error: LoadError, origins: &Origins) -> ModelError {
    let id = id.to_owned();
    match origins.problem(&error) {
        Some(problem) => ModelError::Refused { id, problem: Box::new(problem) },
        None => ModelError::Load { id, source: Box::new(error) },
    }
}

/// What an operator asks first: where it runs, and how much fits.
fn tell(model: &str, info: &ModelInfo) {
    let ModelInfo { instruction_set, device, weight_type, weight_bytes, cache, context_len, .. } = info;
    let (weights_mib, cache_mib) = (weight_bytes >> 20, cache.bytes >> 20);
    let cache_tokens = u64::from(cache.blocks) * u64::from(cache.block_size);
    tracing::info!(
        model,
        device = instruction_set,
        uuid = device.uuid.as_deref(),
        weight_type,
        weights_mib,
        cache_mib,
        cache_tokens,
        context_len,
        "placed"
    );
}

/// A file that was named by itself, as a search for a format finds no other.
fn check_format(format: Option<WeightFormat>, path: &Path) -> Result<(), ModelError> {
    match format == Some(WeightFormat::Plain) && !path.is_dir() {
        true => Err(ModelError::Format(path.to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ostro_engine::DeviceChoice;
    use ostro_engine::tiny::{TinyFamily, TinyModel};
    use ostro_engine::weights::gguf::GgufFile;
    use ostro_engine::weights::gguf::write::{TensorData, write};

    use super::*;
    use crate::translate::plan;

    #[test]
    fn later_models_of_any_device_are_told() {
        let text = "[[models]]\nmodel_id = \"/a\"\n[[models]]\nmodel_id = \"/b\"\ndevice.cpu = true\n\
                    [[models]]\nmodel_id = \"/c\"\n";
        let loaded = ostro_config::Loaded::from_toml("a.toml", text).unwrap();
        let mut models = plan(loaded, None, DeviceChoice::Auto).models.into_iter();
        let first = models.next().unwrap();
        let later: Vec<_> = models.map(|model| (HubOptions::new(Path::new("/none")), model)).collect();
        let told = with_later(first, &later).engine.later;
        let devices: Vec<_> = told.iter().map(|later| later.device).collect();
        assert_eq!(devices, [DeviceChoice::Cpu, DeviceChoice::Auto]);
    }

    /// The defaults of a model whose file says so of sampling, under a seed of the operator's.
    fn defaults_of(published: [(&str, f32); 2]) -> SamplingDefaults {
        let folder = tempfile::tempdir().unwrap();
        let [plain, path] = ["plain.gguf", "tiny.gguf"].map(|name| folder.path().join(name));
        TinyModel::new(TinyFamily::Llama).write_gguf(&plain).unwrap();
        let file = GgufFile::open(&plain).unwrap();
        let mut metadata = file.metadata().clone();
        for (key, value) in published {
            metadata.insert(key, value);
        }
        let tensors: Vec<TensorData> =
            file.tensor_names().map(|name| file.tensor(name).unwrap().into()).collect();
        write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        let text = format!("[[models]]\nmodel_id = {:?}\n", path.to_str().unwrap());
        let loaded = ostro_config::Loaded::from_toml("a.toml", &text).unwrap();
        let mut plan = plan(loaded, None, DeviceChoice::Cpu).models.remove(0);
        plan.seed = Some(7);
        load(plan, &HubOptions::new(folder.path()), &|_| ()).unwrap().defaults
    }

    #[test]
    fn what_a_file_says_of_sampling_is_the_default() {
        let of_seed = SamplingDefaults { seed: Some(7), ..SamplingDefaults::default() };
        let defaults = defaults_of([("general.sampling.temp", 0.5), ("general.sampling.top_k", 20.0)]);
        assert_eq!(defaults, SamplingDefaults { temperature: Some(0.5), top_k: Some(20), ..of_seed });
        let wild = defaults_of([("general.sampling.temp", 2.5), ("general.sampling.top_k", 20.0)]);
        assert_eq!(wild, of_seed, "llama.cpp takes any temperature");
    }
}
