//! One repository's part of the hub cache, laid out as `huggingface_hub` does: contents in
//! `blobs/ID`, `snapshots/COMMIT/FILE` linking to them, the commit of a branch in `refs/BRANCH`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::WeightsError;
use super::names::{is_commit, is_inside};

#[derive(Clone, Debug)]
pub(super) struct RepositoryCache {
    cache: PathBuf,
    folder: String,
}

impl RepositoryCache {
    pub(super) fn new(cache: PathBuf, model: &str) -> Self {
        RepositoryCache { cache, folder: Self::folder_of(model) }
    }

    pub(super) fn folder_of(model: &str) -> String {
        format!("models--{}", model.replace('/', "--"))
    }

    pub(super) fn root(&self) -> &Path {
        &self.cache
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.join(&self.folder).join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, id: &str) -> PathBuf {
        self.cache.join(&self.folder).join("blobs").join(id)
    }

    /// The commit last seen for a branch or tag.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.reference(revision)?).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<(), WeightsError> {
        let Some(path) = self.reference(revision) else { return Ok(()) };
        if is_commit(revision) || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        create_parent(&path)?;
        // Beside it first: a full disk must not leave an empty one.
        let _lock = self.lock("ref")?;
        let beside = self.locks().join("ref.incomplete");
        let written = fs::write(&beside, commit).and_then(|()| match fs::rename(&beside, &path) {
            // A model's folder may be a link to another disk.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => fs::write(&path, commit),
            renamed => renamed,
        });
        written.map_err(|error| WeightsError::io(&path, error))
    }

    fn reference(&self, revision: &str) -> Option<PathBuf> {
        is_inside(revision).then(|| self.cache.join(&self.folder).join("refs").join(revision))
    }

    /// The folder of the files by which downloads keep out of each other's way.
    pub(super) fn locks(&self) -> PathBuf {
        self.cache.join(".locks").join(&self.folder)
    }

    /// Held by whoever downloads the model, together; alone by whoever removes something of it.
    pub(super) fn model_lock(&self) -> Result<PathBuf, WeightsError> {
        let path = self.locks().join("model.lock");
        create_parent(&path)?;
        let file = File::options().append(true).create(true).open(&path);
        file.map(|_| path.clone()).map_err(|error| WeightsError::io(&path, error))
    }

    /// Waits until nobody removes something of the model. File systems without locks have none, and of a cache that
    /// cannot be written nobody removes anything.
    pub(super) fn lock_for_download(&self) -> Option<File> {
        let path = self.model_lock().ok()?;
        let file = File::open(&path).ok()?;
        held(&path, file.lock_shared()).then_some(file)
    }

    /// Waits until no other process downloads this content. File systems without locks have none.
    pub(super) fn lock(&self, id: &str) -> Result<Option<File>, WeightsError> {
        let path = self.locks().join(format!("{id}.lock"));
        create_parent(&path)?;
        let file = File::create(&path).map_err(|error| WeightsError::io(&path, error))?;
        Ok(held(&path, file.lock()).then_some(file))
    }

    /// Makes `file` of the snapshot stand for the content.
    pub(super) fn link(&self, commit: &str, file: &str, id: &str) -> Result<(), WeightsError> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        let target = format!("{}blobs/{id}", "../".repeat(2 + file.matches('/').count()));
        let made = match symlink(&target, &path) {
            // Left behind by someone who removed the content.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.exists() => {
                fs::remove_file(&path).and_then(|()| symlink(&target, &path))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        made.map_err(|error| WeightsError::io(&path, error))
    }

    /// Names of a snapshot's files whose contents are there.
    pub(super) fn files(&self, commit: &str) -> Vec<String> {
        let root = self.snapshot(commit);
        let mut names = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_file() {
                    names.extend(path.strip_prefix(&root).ok().and_then(Path::to_str).map(str::to_owned));
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        names
    }
}

fn held(path: &Path, locked: io::Result<()>) -> bool {
    if let Err(error) = &locked {
        tracing::warn!(path = %path.display(), %error, "the hub cache cannot be locked");
    }
    locked.is_ok()
}

pub(super) fn create_parent(path: &Path) -> Result<(), WeightsError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| WeightsError::io(parent, error))
}
