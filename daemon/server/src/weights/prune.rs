//! What a hub cache holds that no model of a list needs, and its removal. Only models are looked at: data sets and what
//! else other tools keep there stays. Links are never followed out of a model's folder, and a folder that is not laid out
//! as downloads do it is left alone.

mod needs;
mod pulse;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::WeightsError;
use super::cache::RepositoryCache;
use super::names::is_repository_id;
pub use needs::Need;
pub use pulse::Pulse;

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

/// What became of it.
#[derive(Debug)]
pub enum Removal {
    Done(Unneeded),
    /// Some process downloads this model.
    InUse(String),
    /// This model is, since it was looked at.
    Needed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Model,
    /// These files of a model that is needed: some revisions of them, or all.
    Files(Vec<String>),
}

/// What of this cache none of the models needs; and what could not be looked at. Of a model that is there in part only,
/// everything is needed: somebody may be fetching the rest.
///
/// # Errors
/// The cache cannot be read.
pub fn unneeded(cache: &Path, needs: &[Need]) -> Result<(Vec<Unneeded>, Vec<WeightsError>), WeightsError> {
    let cache = match cache.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        canonical => canonical.map_err(|error| WeightsError::io(cache, error))?,
    };
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for name in names_in(&cache)? {
        match of_folder(&cache, &name, needs) {
            Ok(one) => found.extend(one),
            Err(error) => failed.push(error),
        }
    }
    Ok((found, failed))
}

fn of_folder(cache: &Path, name: &str, needs: &[Need]) -> Result<Option<Unneeded>, WeightsError> {
    let folder = cache.join(name);
    let model = name.strip_prefix(MODELS).map(|model| model.replacen("--", "/", 1));
    let Some(model) = model.filter(|model| is_repository_id(model) && is_folder(&folder)) else {
        return Ok(None);
    };
    let (own, others): (Vec<&Need>, Vec<&Need>) = needs.iter().partition(|need| need.is_of(cache, name));
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
        && own.iter().flat_map(|need| &need.paths).all(|path| ends_below(path, folder));
    if !is_plain || own.iter().any(|need| need.is_partial) {
        return Ok(None);
    }
    let kept: BTreeSet<&PathBuf> =
        own.iter().flat_map(|need| need.paths.iter().chain(&need.trails)).collect();
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
    /// Removes what of it is still not needed, and tells that; nothing while some process downloads the model.
    ///
    /// # Errors
    /// Something cannot be removed, or the process has stood still; what came before is removed.
    pub fn remove(
        &self,
        needs: impl FnOnce() -> Result<Vec<Need>, WeightsError>,
        pulse: &Pulse,
    ) -> Result<Removal, WeightsError> {
        let own = RepositoryCache::new(self.cache.clone(), &self.model);
        let Some(_locks) = locks(&own)? else { return Ok(Removal::InUse(self.model.clone())) };
        // A download may have ended since.
        let now = of_folder(&self.cache, &RepositoryCache::folder_of(&self.model), &needs()?)?;
        let Some(now) = now else { return Ok(Removal::Needed(self.model.clone())) };
        now.remove_all(pulse)?;
        Ok(Removal::Done(now))
    }

    fn remove_all(&self, pulse: &Pulse) -> Result<(), WeightsError> {
        let own = RepositoryCache::folder_of(&self.model);
        for folder in &self.folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            // Of another model's revision of the same name too somebody may be removing what is left.
            let leaving = self.cache.join(format!("{REMOVED}{own}--{name}"));
            remove(&leaving)?;
            pulse.check()?;
            gone(folder, fs::rename(folder, &leaving))?;
            remove(&leaving)?;
        }
        self.paths.iter().try_for_each(|path| {
            pulse.check()?;
            gone(path, fs::remove_file(path))
        })
    }
}

/// All that downloads of the model take, by this program and by others, or none.
fn locks(own: &RepositoryCache) -> Result<Option<Vec<File>>, WeightsError> {
    match own.model_lock() {
        // Nor can a download make one, and room is what is asked for.
        Err(WeightsError::DiskFull(_)) => {}
        made => _ = made?,
    }
    let mut locks = Vec::new();
    // Another kind of file could be one that waits for a writer.
    for path in files_below(&own.locks())?.into_iter().filter(|path| path.is_file()) {
        // NFS locks for one alone only what is open for writing.
        let file = File::options().read(true).write(true).open(&path).or_else(|_| File::open(&path));
        let file = file.map_err(|error| WeightsError::io(&path, error))?;
        match file.try_lock() {
            Ok(()) => locks.push(file),
            Err(TryLockError::WouldBlock) => return Ok(None),
            // As on file systems without locks.
            Err(TryLockError::Error(_)) => {}
        }
    }
    Ok(Some(locks))
}

/// Removes what an earlier removal left when it was broken off.
///
/// # Errors
/// It cannot be removed.
pub fn finish_removals(cache: &Path) -> Result<(), WeightsError> {
    let names = names_in(cache)?.into_iter().filter(|name| name.starts_with(REMOVED));
    names.into_iter().try_for_each(|name| remove(&cache.join(name)))
}

fn ends_below(path: &Path, folder: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path.starts_with(folder))
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
