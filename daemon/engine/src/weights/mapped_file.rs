//! The one memory map of the crate: a file's bytes, read by the kernel as they are touched.
//!
//! The only `unsafe` of the engine. Weights are copied out of the map once, while loading.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, MmapOptions};

/// A file mapped for reading. Bytes are those of the file when it was opened.
#[derive(Debug)]
pub(super) struct MappedFile {
    map: Mmap,
}

#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
}

impl MappedFile {
    /// Maps a regular file; symbolic links are followed, since hub caches consist of them.
    pub(super) fn open(path: &Path) -> Result<Self, MapError> {
        let read_error = |source| MapError::Read { path: path.into(), source };
        // Asked before opening: to open a named pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(read_error)?.is_file() {
            return Err(MapError::NotAFile(path.into()));
        }
        let file = File::open(path).map_err(read_error)?;
        if file.metadata().map_err(read_error)?.len() == 0 {
            return Err(MapError::Empty(path.into()));
        }
        // SAFETY: the map is read-only and private. Its memory is undefined only if another process
        // writes to or shortens the file meanwhile: writing can give wrong weights, and shortening
        // ends the process by SIGBUS; all users of maps on Unix accept that. Bytes are only ever read
        // as integers and floats, for which every bit pattern is valid; text is checked as UTF-8 and
        // copied before use.
        let map = unsafe { MmapOptions::new().map(&file) }.map_err(read_error)?;
        Ok(MappedFile { map })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Asks the kernel to begin to read `bytes`, and says whether they are of this file. Touched page by page, a file
    /// is read in pieces no longer than the kernel's own read-ahead, and each is waited for.
    pub(super) fn read_ahead(&self, bytes: &[u8]) -> bool {
        let start = bytes.as_ptr().addr().checked_sub(self.map.as_ptr().addr());
        let Some(start) = start.filter(|start| start + bytes.len() <= self.map.len()) else { return false };
        // A hint: where it is refused, pages are read when they are touched.
        let _ = self.map.advise_range(Advice::WillNeed, start, bytes.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_of_the_file_are_read_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| {
            std::fs::write(folder.path().join(name), vec![7; 10_000]).unwrap();
            MappedFile::open(&folder.path().join(name)).unwrap()
        });
        for range in [0..10_000, 5000..5001, 9999..10_000, 10_000..10_000] {
            assert!(one.read_ahead(&one.bytes()[range.clone()]), "{range:?}");
            assert!(!one.read_ahead(&other.bytes()[range.clone()]) || range.is_empty(), "{range:?}");
        }
        assert_eq!(one.bytes(), [7; 10_000]);
    }
}
