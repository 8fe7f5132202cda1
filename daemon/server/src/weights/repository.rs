//! A model of the hub: asks for its files, chooses, downloads what is missing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ostro_engine::weights::safetensors::INDEX_BYTES_MAX;

use super::cache::RepositoryCache;
use super::download::Downloads;
use super::hub::Hub;
use super::patience;
use super::select::{INDEX, Selection, select, shards};
use super::{
    DEFAULT_REVISION, DownloadProgress, HubMode, HubOptions, ModelReference, ResolvedModel, WeightsError,
};

/// `id` is that of the reference.
pub(super) fn resolve(
    id: &str,
    reference: &ModelReference,
    (options, progress): (&HubOptions, &dyn Fn(DownloadProgress)),
) -> Result<ResolvedModel, WeightsError> {
    let cache = RepositoryCache::new(options.cache_folder(), id);
    let repository = Repository::new(id, reference, cache);
    if options.mode == HubMode::Offline {
        return repository.cached();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| WeightsError::io(&options.cache_folder(), error))?;
    let patience = if repository.cached().is_ok() { patience::CACHED } else { patience::NEEDED };
    let hub = Hub::new(id, options, &patience)?;
    match runtime.block_on(repository.download(&hub, options, progress)) {
        Err(error) if error.leaves_what_is_cached() => match repository.cached() {
            Ok(cached) => {
                let why = &error as &dyn std::error::Error;
                tracing::warn!(model = id, why, "the cached model is used");
                Ok(cached)
            }
            Err(_) => Err(error),
        },
        result => result,
    }
}

pub(super) struct Repository<'a> {
    id: &'a str,
    reference: &'a ModelReference,
    cache: RepositoryCache,
}

impl<'a> Repository<'a> {
    pub(super) fn new(id: &'a str, reference: &'a ModelReference, cache: RepositoryCache) -> Self {
        Repository { id, reference, cache }
    }

    fn revision(&self) -> &str {
        self.reference.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    fn select(&self, names: &[String]) -> Result<Selection, WeightsError> {
        let ModelReference { quantized_file, format, .. } = self.reference;
        select(self.id, names, quantized_file.as_deref(), *format)
    }

    /// The model as earlier downloads left it.
    fn cached(&self) -> Result<ResolvedModel, WeightsError> {
        let (selection, _, commit) = self.cached_selection()?;
        Ok(self.resolved(&selection, commit))
    }

    /// Paths of all of its files, where none is missing.
    pub(super) fn cached_files(&self) -> Result<Vec<PathBuf>, WeightsError> {
        let (selection, shards, commit) = self.cached_selection()?;
        let snapshot = self.cache.snapshot(&commit);
        Ok(selection.files().iter().chain(&shards).map(|file| snapshot.join(file)).collect())
    }

    /// With the shards of the selection, and its commit.
    fn cached_selection(&self) -> Result<(Selection, Vec<String>, String), WeightsError> {
        let model = self.id;
        let missing = |what: &str| WeightsError::NotCached {
            model: model.to_owned(),
            what: what.to_owned(),
            cache: self.cache.root().to_owned(),
        };
        let commit = self.cache.commit_of(self.revision()).ok_or_else(|| missing(self.revision()))?;
        let names = self.cache.files(&commit);
        let selection = match self.select(&names) {
            Err(WeightsError::FileNotFound { file, .. }) => return Err(missing(&file)),
            Err(WeightsError::NoWeights { .. }) => return Err(missing("its weights")),
            selected => selected?,
        };
        let shards = self.shards_of(&selection, &commit)?;
        match shards.iter().find(|shard| !names.contains(shard)) {
            Some(shard) => Err(missing(shard)),
            None => Ok((selection, shards, commit)),
        }
    }

    async fn download(
        &self,
        hub: &Hub<'_>,
        options: &HubOptions,
        progress: &dyn Fn(DownloadProgress),
    ) -> Result<ResolvedModel, WeightsError> {
        let (commit, names) = hub.listing(self.revision()).await?;
        let _lock = self.cache.lock_for_download();
        let selection = self.select(&names)?;
        let mut downloads = Downloads::new(hub, &self.cache, &commit, options, progress);
        downloads.fetch(selection.files()).await?;
        downloads.fetch(&self.shards_of(&selection, &commit)?).await?;
        self.cache.remember(self.revision(), &commit)?;
        Ok(self.resolved(&selection, commit))
    }

    fn shards_of(&self, selection: &Selection, commit: &str) -> Result<Vec<String>, WeightsError> {
        if !selection.files().iter().any(|file| file == INDEX) {
            return Ok(Vec::new());
        }
        let path = self.cache.snapshot(commit).join(INDEX);
        let index = read_index(&path).map_err(|error| WeightsError::io(&path, error))?;
        if index.len() as u64 > INDEX_BYTES_MAX {
            let what = format!("{INDEX} is larger than {INDEX_BYTES_MAX} bytes");
            return Err(WeightsError::Malformed { model: self.id.to_owned(), what });
        }
        shards(self.id, &index)
    }

    fn resolved(&self, selection: &Selection, commit: String) -> ResolvedModel {
        let snapshot = self.cache.snapshot(&commit);
        let path = match selection {
            Selection::Gguf(file) => snapshot.join(file),
            Selection::Directory(_) => snapshot,
        };
        ResolvedModel { path, commit: Some(commit) }
    }
}

/// A byte more than it may have, at most.
fn read_index(path: &Path) -> io::Result<Vec<u8>> {
    let mut index = Vec::new();
    File::open(path)?.take(INDEX_BYTES_MAX + 1).read_to_end(&mut index)?;
    Ok(index)
}
