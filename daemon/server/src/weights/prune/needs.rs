//! What models need of caches, links and all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::super::cache::RepositoryCache;
use super::super::names::check_repository_id;
use super::super::repository::Repository;
use super::super::{HubOptions, ModelLocation, ModelReference, WeightsError};
use super::{files_below, names_in};

/// As many as Linux follows.
const LINKS_MAX: u32 = 40;

/// What a model needs of caches.
#[derive(Debug)]
pub struct Need {
    /// Of a model of the hub, its cache and its folder's name there.
    folder: Option<(PathBuf, String)>,
    /// As the model reads them.
    pub(super) paths: Vec<PathBuf>,
    /// What they lead to, and what lies on the way.
    pub(super) trails: BTreeSet<PathBuf>,
    /// Some of it is missing.
    pub(super) is_partial: bool,
}

impl Need {
    /// # Errors
    /// The model is given by a path, and nothing is there, or by what is no id: what it needs cannot be known.
    pub fn of(reference: &ModelReference, options: &HubOptions) -> Result<Need, WeightsError> {
        match &reference.model {
            ModelLocation::Path(path) if path.exists() => {
                let paths = files_of(path, reference.quantized_file.as_deref());
                let trails = paths.iter().flat_map(|path| trail(path)).collect();
                Ok(Need { folder: None, paths, trails, is_partial: false })
            }
            ModelLocation::Path(path) => Err(WeightsError::LocalNotFound(path.clone())),
            ModelLocation::Hub(id) => {
                check_repository_id(id)?;
                Ok(Need::of_hub(id, reference, options.cache_folder()))
            }
        }
    }

    fn of_hub(id: &str, reference: &ModelReference, cache: PathBuf) -> Need {
        let cache = cache.canonicalize().unwrap_or(cache);
        let paths = Repository::new(id, reference, RepositoryCache::new(cache.clone(), id)).cached_files();
        let is_partial = paths.is_err();
        let paths = paths.unwrap_or_default();
        let name = RepositoryCache::folder_of(id);
        let all = if is_partial { everything(cache.join(&name)) } else { Vec::new() };
        let trails = paths.iter().chain(&all).flat_map(|path| trail(path)).collect();
        Need { folder: Some((cache, name)), paths, trails, is_partial }
    }

    /// Two ids of the hub can have one folder; both are meant then.
    pub(super) fn is_of(&self, cache: &Path, name: &str) -> bool {
        self.folder.as_ref().is_some_and(|(own, folder)| own == cache && folder == name)
    }

    pub(super) fn is_below(&self, folder: &Path) -> bool {
        self.trails.iter().any(|path| path.starts_with(folder))
    }
}

/// Of a model that is there in part: what is missing may be other parts of what its links lead to.
fn everything(folder: PathBuf) -> Vec<PathBuf> {
    let mut all = files_below(&folder).unwrap_or_default();
    all.push(folder);
    all
}

/// Of a model that is given by its path.
fn files_of(model: &Path, file: Option<&str>) -> Vec<PathBuf> {
    let names = names_in(model).unwrap_or_default();
    let names = names.iter().map(String::as_str).chain(file);
    names.map(|name| model.join(name)).chain([model.to_owned()]).collect()
}

/// Everything that a path leads through, by links and folders, to what it means, as the system finds it.
fn trail(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut at = std::env::current_dir().and_then(|folder| folder.canonicalize()).unwrap_or_default();
    let mut rest: Vec<PathBuf> = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part.components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => _ = at.pop(),
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                match fs::read_link(&next) {
                    Ok(target) if links < LINKS_MAX => {
                        links += 1;
                        rest.extend(parts(&target));
                    }
                    _ => at.clone_from(&next),
                }
                found.insert(next);
            }
            _ => {}
        }
    }
    found
}

/// The last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}
