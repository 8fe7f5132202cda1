//! What a hub cache holds that no model of a list needs, and its removal. Only models are looked at: data sets and what
//! else other tools keep there stays. Links are never followed out of a model's folder, and a folder that is not laid out
//! as downloads do it is left alone.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
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
    pub what: What,
    /// Of the disk.
    pub bytes: u64,
    cache: PathBuf,
    /// Each goes at once.
    folders: Vec<PathBuf>,
    paths: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Model,
    /// These files of a model that is needed: some revisions of them, or all.
    Files(Vec<String>),
}

/// What of the cache that `options` name none of these models needs, which may be paths of other files too; and what
/// could not be looked at. Of a model that is there in part only, everything is needed: somebody may be fetching the rest.
///
/// # Errors
/// The cache cannot be read.
pub fn unneeded(
    models: &[ModelReference],
    options: &HubOptions,
) -> Result<(Vec<Unneeded>, Vec<WeightsError>), WeightsError> {
    let cache = match options.cache_folder().canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        cache => cache.map_err(|error| WeightsError::io(&options.cache_folder(), error))?,
    };
    let needs: Vec<Need> = models.iter().map(|model| Need::of(model, &cache)).collect();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for name in names_in(&cache)? {
        match of_folder(&cache, &name, &needs) {
            Ok(one) => found.extend(one),
            Err(error) => failed.push(error),
        }
    }
    Ok((found, failed))
}

/// What one of the models needs.
struct Need {
    /// Its folder's name, for a model of the hub.
    folder: Option<String>,
    /// As the model reads them.
    paths: Vec<PathBuf>,
    /// What they lead to.
    files: BTreeSet<PathBuf>,
    /// Some of it is missing.
    is_partial: bool,
}

impl Need {
    fn of(reference: &ModelReference, cache: &Path) -> Need {
        let (id, local) = (&reference.model, Path::new(&reference.model));
        let is_of_hub = !looks_like_path(id) && !local.exists() && is_repository_id(id);
        let paths = match is_of_hub {
            true => {
                let own = RepositoryCache::new(cache.to_owned(), id);
                Repository::new(reference, own).cached_files()
            }
            false => Ok(files_of(local, reference.quantized_file.as_deref())),
        };
        let is_partial = paths.is_err();
        let paths = paths.unwrap_or_default();
        let files = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
        Need { folder: is_of_hub.then(|| RepositoryCache::folder_of(id)), paths, files, is_partial }
    }

    /// Two ids of the hub can have one folder; both are meant then.
    fn is_of(&self, name: &str) -> bool {
        self.folder.as_deref() == Some(name)
    }

    fn is_below(&self, folder: &Path) -> bool {
        self.files.iter().any(|file| file.starts_with(folder))
    }

    /// It has files, or links that lead to files and to no other links.
    fn is_plain(&self) -> bool {
        let leads_on = |path: &PathBuf| {
            let target = fs::read_link(path).ok().map(|target| path.with_file_name("").join(target));
            target.is_some_and(|target| target.is_symlink())
        };
        !self.is_partial && !self.paths.iter().any(leads_on)
    }
}

/// Of a model that is given by its path.
fn files_of(model: &Path, file: Option<&str>) -> Vec<PathBuf> {
    let names = names_in(model).unwrap_or_default();
    let names = names.iter().map(String::as_str).chain(file);
    names.map(|name| model.join(name)).chain([model.to_owned()]).collect()
}

fn of_folder(cache: &Path, name: &str, needs: &[Need]) -> Result<Option<Unneeded>, WeightsError> {
    let folder = cache.join(name);
    let model = name.strip_prefix(MODELS).map(|model| model.replacen("--", "/", 1));
    let Some(model) = model.filter(|model| is_repository_id(model) && is_folder(&folder)) else {
        return Ok(None);
    };
    let (own, others): (Vec<&Need>, Vec<&Need>) = needs.iter().partition(|need| need.is_of(name));
    if others.iter().any(|need| need.is_below(&folder)) {
        return Ok(None);
    }
    match own.is_empty() {
        true => whole(cache, folder, model).map(Some),
        false => in_part(cache, &folder, (model, &own)),
    }
}

fn whole(cache: &Path, folder: PathBuf, model: String) -> Result<Unneeded, WeightsError> {
    let bytes = files_below(&folder)?.iter().map(|path| length(path)).sum();
    let (cache, paths) = (cache.to_owned(), Vec::new());
    Ok(Unneeded { model, what: What::Model, bytes, cache, folders: vec![folder], paths })
}

/// Other revisions and files of a model that is needed.
fn in_part(
    cache: &Path,
    folder: &Path,
    (model, own): (String, &[&Need]),
) -> Result<Option<Unneeded>, WeightsError> {
    let (snapshots, blobs) = (folder.join("snapshots"), folder.join("blobs"));
    let commits: Vec<PathBuf> = names_in(&snapshots)?.iter().map(|commit| snapshots.join(commit)).collect();
    let contents = files_below(&blobs)?;
    // What leads on, or out of the model's own folder, is of another layout.
    let is_plain = is_folder(&snapshots)
        && !blobs.is_symlink()
        && !commits.iter().chain(&contents).any(|path| path.is_symlink())
        && own.iter().all(|need| need.is_plain())
        && own.iter().flat_map(|need| &need.files).all(|file| file.starts_with(folder));
    if !is_plain {
        return Ok(None);
    }
    let kept: BTreeSet<&PathBuf> = own.iter().flat_map(|need| need.paths.iter().chain(&need.files)).collect();
    let (mut folders, mut paths, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for commit in commits.into_iter().filter(|commit| is_folder(commit)) {
        let unneeded: Vec<PathBuf> =
            files_below(&commit)?.into_iter().filter(|path| !kept.contains(path)).collect();
        names.extend(unneeded.iter().filter_map(|path| name_below(path, &commit)));
        match kept.iter().any(|path| path.starts_with(&commit)) {
            true => paths.extend(unneeded),
            false => folders.push(commit),
        }
    }
    let contents: Vec<PathBuf> = contents.into_iter().filter(|path| !kept.contains(path)).collect();
    // Those that no revision has, such as what was downloaded in part.
    if names.is_empty() {
        names.extend(contents.iter().filter_map(|path| name_below(path, folder)));
    }
    paths.extend(contents);
    if folders.is_empty() && paths.is_empty() {
        return Ok(None);
    }
    let in_folders = folders.iter().map(|folder| files_below(folder)).collect::<Result<Vec<_>, _>>()?;
    let bytes = paths.iter().chain(in_folders.iter().flatten()).map(|path| length(path)).sum();
    let what = What::Files(names.into_iter().collect());
    Ok(Some(Unneeded { model, what, bytes, cache: cache.to_owned(), folders, paths }))
}

impl Unneeded {
    /// Removes it, unless some process downloads a file of the model: then nothing is, and `false` returned.
    ///
    /// # Errors
    /// Something cannot be removed; what came before it is.
    pub fn remove(&self) -> Result<bool, WeightsError> {
        let Some(_locks) = self.locks()? else { return Ok(false) };
        for folder in &self.folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let leaving = self.cache.join(format!("{REMOVED}{name}"));
            remove(&leaving)?;
            gone(folder, fs::rename(folder, &leaving))?;
            remove(&leaving)?;
        }
        self.paths.iter().try_for_each(|path| gone(path, fs::remove_file(path)))?;
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
                Err(TryLockError::WouldBlock) => return Ok(None),
                // As on file systems without locks.
                Err(TryLockError::Error(_)) => {}
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
    let names = names_in(&cache)?.into_iter().filter(|name| name.starts_with(REMOVED));
    names.into_iter().try_for_each(|name| remove(&cache.join(name)))
}

/// A file, a link, or a folder with all that is in it.
fn remove(path: &Path) -> Result<(), WeightsError> {
    gone(path, if is_folder(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) })
}

/// What is not there any more is as good as removed.
fn gone(path: &Path, removed: io::Result<()>) -> Result<(), WeightsError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(WeightsError::io(path, error)),
        _ => Ok(()),
    }
}

/// And no link to one.
fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

fn length(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}

fn name_below(path: &Path, folder: &Path) -> Option<String> {
    Some(path.strip_prefix(folder).ok()?.to_string_lossy().into_owned())
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
        match is_folder(&path) {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
