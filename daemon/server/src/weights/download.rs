//! Downloads files into the cache. A transfer that breaks off is continued where it stopped, in this
//! run or a later one; contents whose id is a sha256 are checked against it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use reqwest::StatusCode;
use sha2::{Digest, Sha256};

use super::cache::{RepositoryCache, create_parent};
use super::hub::Hub;
use super::{DownloadProgress, HubOptions, WeightsError};

const REPORT_BYTES: u64 = 1 << 20;

/// A file as the hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    /// Names the content: a sha256 for large files.
    pub(super) id: String,
    pub(super) bytes: u64,
}

/// The downloads of one model's snapshot.
pub(super) struct Downloads<'a> {
    hub: &'a Hub<'a>,
    cache: &'a RepositoryCache,
    commit: &'a str,
    options: &'a HubOptions,
    progress: &'a dyn Fn(DownloadProgress),
    /// Of the files so far.
    done: u64,
    total: u64,
}

impl<'a> Downloads<'a> {
    pub(super) fn new(
        hub: &'a Hub<'a>,
        cache: &'a RepositoryCache,
        commit: &'a str,
        options: &'a HubOptions,
        progress: &'a dyn Fn(DownloadProgress),
    ) -> Self {
        Downloads { hub, cache, commit, options, progress, done: 0, total: 0 }
    }

    /// Brings those of the files that the snapshot lacks.
    pub(super) async fn fetch(&mut self, files: &[String]) -> Result<(), WeightsError> {
        let snapshot = self.cache.snapshot(self.commit);
        let mut missing = Vec::new();
        for file in files.iter().filter(|file| !snapshot.join(file).exists()) {
            let remote = self.describe(file).await?;
            self.total += remote.bytes;
            missing.push(remote);
        }
        for remote in missing {
            let lock = self.cache.lock(&remote.id)?;
            let blob = self.cache.blob(&remote.id);
            if !blob.exists() {
                self.transfer(&remote, &blob).await?;
            }
            drop(lock);
            self.cache.link(self.commit, &remote.name, &remote.id)?;
            self.done += remote.bytes;
            self.report(&remote.name, 0);
        }
        Ok(())
    }

    async fn describe(&self, file: &str) -> Result<RemoteFile, WeightsError> {
        let mut failures = 0;
        loop {
            match self.hub.describe(self.commit, file).await {
                Err(error) => self.wait_before_retry(&mut failures, error).await?,
                described => return described,
            }
        }
    }

    async fn transfer(&self, remote: &RemoteFile, blob: &Path) -> Result<(), WeightsError> {
        let path = blob.with_file_name(format!("{}.incomplete", remote.id));
        create_parent(&path)?;
        let mut partial = Partial::open(&path, remote)?;
        let (mut failures, mut furthest) = (0, partial.bytes);
        while partial.bytes < remote.bytes {
            if let Err(error) = self.append(remote, &mut partial).await {
                if partial.bytes > furthest {
                    (failures, furthest) = (0, partial.bytes);
                }
                self.wait_before_retry(&mut failures, error).await?;
            }
        }
        if !partial.is_whole(remote)? {
            fs::remove_file(&path).map_err(|error| WeightsError::io(&path, error))?;
            let (model, file) = (self.hub.model().to_owned(), remote.name.clone());
            return Err(WeightsError::Damaged { model, file });
        }
        partial.file.sync_all().map_err(|error| WeightsError::io(&path, error))?;
        match fs::rename(&path, blob) {
            // Another download of it, which no lock kept away, was done first.
            Err(error) if error.kind() == io::ErrorKind::NotFound && blob.exists() => Ok(()),
            renamed => renamed.map_err(|error| WeightsError::io(&path, error)),
        }
    }

    /// One request; returns when it has given all it gives.
    async fn append(&self, remote: &RemoteFile, partial: &mut Partial<'_>) -> Result<(), WeightsError> {
        let mut response = self.hub.bytes(self.commit, &remote.name, partial.bytes).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK if partial.bytes == 0 => {}
            // The server gives the whole file: begin again.
            StatusCode::OK => partial.restart()?,
            // It has no more: what it has may be another file by now.
            _ => {
                partial.restart()?;
                return Err(self.hub.cut_short(&remote.name));
            }
        }
        let mut reported = partial.bytes;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.hub.network(error))? {
            if partial.bytes + chunk.len() as u64 > remote.bytes {
                partial.restart()?;
                return Err(self.hub.malformed(&format!("{} is longer than announced", remote.name)));
            }
            partial.append(&chunk)?;
            if partial.bytes - reported >= REPORT_BYTES {
                reported = partial.bytes;
                self.report(&remote.name, partial.bytes);
            }
        }
        match partial.bytes == remote.bytes {
            true => Ok(()),
            false => Err(self.hub.cut_short(&remote.name)),
        }
    }

    async fn wait_before_retry(&self, failures: &mut u32, error: WeightsError) -> Result<(), WeightsError> {
        if !error.is_transient() || *failures >= self.options.retries {
            return Err(error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "a download is continued after a failure");
        tokio::time::sleep(self.options.retry_delay * 2u32.saturating_pow((*failures).min(6))).await;
        *failures += 1;
        Ok(())
    }

    fn report(&self, file: &str, bytes: u64) {
        let progress = DownloadProgress { file: file.to_owned(), done: self.done + bytes, total: self.total };
        (self.progress)(progress);
    }
}

/// What has arrived of a file, on disk, with the sha256 of its bytes so far. Writes at its own place in the file, so that
/// two downloads which no lock keeps apart write the same.
struct Partial<'a> {
    path: &'a Path,
    file: File,
    bytes: u64,
    digest: Sha256,
}

impl<'a> Partial<'a> {
    fn open(path: &'a Path, remote: &RemoteFile) -> Result<Self, WeightsError> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(|error| WeightsError::io(path, error))?;
        let mut partial = Partial { path, file, bytes: 0, digest: Sha256::new() };
        partial.read_what_is_there().map_err(|error| WeightsError::io(path, error))?;
        if partial.bytes > remote.bytes {
            partial.file.set_len(remote.bytes).map_err(|error| WeightsError::io(path, error))?;
            partial.restart()?;
        }
        Ok(partial)
    }

    fn read_what_is_there(&mut self) -> io::Result<()> {
        let mut rest = (&self.file).take(self.file.metadata()?.len());
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = rest.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.digest.update(&buffer[..read]);
            self.bytes += read as u64;
        }
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), WeightsError> {
        self.file.write_all(chunk).map_err(|error| WeightsError::io(self.path, error))?;
        self.digest.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Writes over what is there, which may be another download's that is nearly done.
    fn restart(&mut self) -> Result<(), WeightsError> {
        self.file.rewind().map_err(|error| WeightsError::io(self.path, error))?;
        self.digest = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    /// On disk too, where others may have written. Contents whose ids are not a sha256 cannot be checked.
    fn is_whole(&self, remote: &RemoteFile) -> Result<bool, WeightsError> {
        let id = &remote.id;
        let there = self.file.metadata().map_err(|error| WeightsError::io(self.path, error))?.len();
        let is_digest = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digest: String =
            self.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(there == remote.bytes && (!is_digest || digest.eq_ignore_ascii_case(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_downloads_of_one_file_write_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.incomplete");
        let remote = RemoteFile { name: "a".to_owned(), id: "0".repeat(40), bytes: 4 };
        let mut both = [(), ()].map(|()| Partial::open(&path, &remote).unwrap());
        for chunk in [b"ab", b"cd"] {
            for partial in &mut both {
                partial.append(chunk).unwrap();
            }
        }
        assert_eq!(fs::read(&path).unwrap(), b"abcd");
        assert!(both[0].is_whole(&remote).unwrap());
        fs::write(&path, "abcdef").unwrap();
        assert!(!both[0].is_whole(&remote).unwrap(), "what others added");
    }
}
