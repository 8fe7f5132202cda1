//! What a hub cache holds that no model of a list needs, and its removal. Only models are looked at: data sets and what
//! else other tools keep there stays.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::cache::RepositoryCache;
use super::hub::Repository;
use super::names::is_repository_id;
use super::{HubOptions, ModelReference, WeightsError, looks_like_path};

const MODELS: &str = "models--";
/// Of a folder that is on its way out: none of it is ever found again, also where removing it was broken off.
const REMOVED: &str = ".removed--";

/// Of one repository.
#[derive(Debug)]
pub struct Unneeded {
    /// `owner/name`.
    pub model: String,
    /// The model's files that nobody needs; empty where the whole model goes.
    pub files: Vec<String>,
    /// Of the disk.
    pub bytes: u64,
    cache: PathBuf,
    /// Each goes at once.
    folders: Vec<PathBuf>,
    paths: Vec<PathBuf>,
}

/// What of the cache that `options` name none of these models needs, which may be paths of other files too. Of a model that is there in part only, everything is
/// needed: somebody may be fetching the rest.
///
/// # Errors
/// The cache cannot be read.
pub fn unneeded(models: &[ModelReference], options: &HubOptions) -> Result<Vec<Unneeded>, WeightsError> {
    let cache = options.cache_folder();
    let mut found = Vec::new();
    for name in names_in(&cache)? {
        let Some(model) = name.strip_prefix(MODELS).map(|model| model.replacen("--", "/", 1)) else {
            continue;
        };
        if models.iter().any(|one| is_below(one, &cache.join(&name))) {
            continue;
        }
        let meant: Vec<&ModelReference> = models.iter().filter(|one| is_of(one, &name)).collect();
        let one = match meant.is_empty() {
            true => Some(whole(&cache, &name, model)?),
            false => in_part(&cache, &name, model, &meant)?,
        };
        found.extend(one);
    }
    Ok(found)
}

/// Two ids of the hub can have one folder; both are meant then.
fn is_of(reference: &ModelReference, folder: &str) -> bool {
    let model = &reference.model;
    let is_local = looks_like_path(model) || Path::new(model).exists() || !is_repository_id(model);
    !is_local && RepositoryCache::folder_of(model) == folder
}

/// A path into the folder.
fn is_below(reference: &ModelReference, folder: &Path) -> bool {
    let path = Path::new(&reference.model).canonicalize();
    path.is_ok_and(|path| folder.canonicalize().is_ok_and(|folder| path.starts_with(folder)))
}

fn whole(cache: &Path, name: &str, model: String) -> Result<Unneeded, WeightsError> {
    let folder = cache.join(name);
    let bytes = files_below(&folder)?.iter().filter_map(|path| length(path)).sum();
    Ok(Unneeded {
        model,
        files: Vec::new(),
        bytes,
        cache: cache.to_owned(),
        folders: vec![folder],
        paths: Vec::new(),
    })
}

/// Other revisions and files of a model that is needed.
fn in_part(
    cache: &Path,
    name: &str,
    model: String,
    meant: &[&ModelReference],
) -> Result<Option<Unneeded>, WeightsError> {
    let folder = cache.join(name);
    let mut kept = BTreeSet::new();
    for reference in meant {
        let own = RepositoryCache::new(cache.to_owned(), &reference.model);
        match Repository::new(reference, own).cached_files() {
            Ok(paths) => kept.extend(paths),
            Err(_) => return Ok(None),
        }
    }
    let snapshots = folder.join("snapshots");
    let is_empty = |snapshot: &Path| !kept.iter().any(|path| path.starts_with(snapshot));
    let folders: Vec<PathBuf> = names_in(&snapshots)?
        .into_iter()
        .map(|commit| snapshots.join(commit))
        .filter(|path| is_empty(path))
        .collect();
    let links = files_below(&snapshots)?.into_iter().filter(|path| !kept.contains(path));
    let links: Vec<PathBuf> = links.collect();
    let needed: BTreeSet<PathBuf> = kept.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let blobs = files_below(&folder.join("blobs"))?.into_iter();
    let blobs = blobs.filter(|path| path.canonicalize().is_ok_and(|path| !needed.contains(&path)));
    let blobs: Vec<PathBuf> = blobs.collect();
    let names = links.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let files: BTreeSet<String> = names.collect();
    let bytes = blobs.iter().filter_map(|path| length(path)).sum();
    if links.is_empty() && blobs.is_empty() {
        return Ok(None);
    }
    let links = links.into_iter().filter(|path| !folders.iter().any(|folder| path.starts_with(folder)));
    let paths = links.chain(blobs).collect();
    Ok(Some(Unneeded {
        model,
        files: files.into_iter().collect(),
        bytes,
        cache: cache.to_owned(),
        folders,
        paths,
    }))
}

impl Unneeded {
    /// Removes it, unless some process downloads a file of the model: then nothing is, and `false` returned.
    ///
    /// # Errors
    /// Something cannot be removed; what could be is.
    pub fn remove(&self) -> Result<bool, WeightsError> {
        let Some(_locks) = self.locks()? else { return Ok(false) };
        for folder in &self.folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let leaving = self.cache.join(format!("{REMOVED}{name}"));
            gone(&leaving, fs::remove_dir_all(&leaving))?;
            gone(folder, fs::rename(folder, &leaving))?;
            gone(&leaving, fs::remove_dir_all(&leaving))?;
        }
        for path in &self.paths {
            gone(path, fs::remove_file(path))?;
        }
        Ok(true)
    }

    /// All that downloads of the model take, or none.
    fn locks(&self) -> Result<Option<Vec<File>>, WeightsError> {
        let folder = RepositoryCache::new(self.cache.clone(), &self.model).locks();
        let mut locks = Vec::new();
        for path in files_below(&folder)? {
            let file = File::open(&path).map_err(|error| WeightsError::io(&path, error))?;
            match file.try_lock() {
                Ok(()) => locks.push(file),
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                // As on file systems without locks.
                Err(fs::TryLockError::Error(_)) => {}
            }
        }
        Ok(Some(locks))
    }
}

/// Removes what an earlier removal left when it was broken off.
///
/// # Errors
/// It cannot be removed.
pub fn finish_removals(options: &HubOptions) -> Result<(), WeightsError> {
    let cache = options.cache_folder();
    for name in names_in(&cache)?.into_iter().filter(|name| name.starts_with(REMOVED)) {
        let path = cache.join(name);
        gone(&path, fs::remove_dir_all(&path))?;
    }
    Ok(())
}

/// What is not there any more is as good as removed.
fn gone(path: &Path, removed: io::Result<()>) -> Result<(), WeightsError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(WeightsError::io(path, error)),
        _ => Ok(()),
    }
}

fn length(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|metadata| metadata.len())
}

/// Sorted; none of a folder that is not there.
fn names_in(folder: &Path) -> Result<Vec<String>, WeightsError> {
    let failed = |error| WeightsError::io(folder, error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Files and links, not what links lead to.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let mut files = Vec::new();
    for name in names_in(folder)? {
        let path = folder.join(name);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(files_below(&path)?),
            Ok(_) => files.push(path),
            Err(_) => {}
        }
    }
    Ok(files)
}
