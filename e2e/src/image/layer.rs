//! What an image's file system holds, and the layer that it becomes.
//!
//! The bytes depend on the contents alone: entries are sorted, times are zero, owners are given.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

/// Paths without a leading slash, so that a folder sorts before what it holds.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    mode: u32,
    /// User and group number.
    owner: u32,
}

#[derive(Clone, Debug)]
enum Kind {
    Folder,
    /// Read when the layer is written.
    Copy(PathBuf),
    Text(String),
    Link(String),
}

impl Layer {
    /// The folders that programs and container runtimes expect.
    pub fn new() -> Layer {
        let mut layer = Layer::default();
        for folder in ["bin", "dev", "etc", "proc", "sys", "var"] {
            layer.add(folder, Kind::Folder, 0o755);
        }
        layer.add("tmp", Kind::Folder, 0o1777);
        layer
    }

    /// A folder that the user with this number owns.
    pub fn folder_of(&mut self, path: &str, owner: u32) {
        self.add(path, Kind::Folder, 0o755);
        if let Some(entry) = self.entries.get_mut(key(path)) {
            entry.owner = owner;
        }
    }

    /// A copy of a file of this machine (of what a link points at), executable if that is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn copy(&mut self, source: &Path, path: &str) -> Result<()> {
        let metadata =
            source.metadata().with_context(|| format!("cannot put {} into an image", source.display()))?;
        ensure!(metadata.is_file(), "{} is not a file", source.display());
        let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        self.add(path, Kind::Copy(source.to_owned()), mode);
        Ok(())
    }

    /// Copies of all files below a folder of this machine; `is_wanted` is asked for the name of each file and folder.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn copy_folder(&mut self, source: &Path, path: &str, is_wanted: fn(&str) -> bool) -> Result<()> {
        let entries = std::fs::read_dir(source);
        for entry in entries.with_context(|| format!("cannot read {}", source.display()))? {
            let source = entry?.path();
            let name = source.file_name().unwrap_or_default().to_string_lossy();
            let path = format!("{path}/{name}");
            if !is_wanted(&name) {
                continue;
            }
            match source.is_dir() {
                true => self.copy_folder(&source, &path, is_wanted)?,
                false => self.copy(&source, &path)?,
            }
        }
        Ok(())
    }

    /// The files of this machine that it has copies of.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Path> {
        self.entries.values().filter_map(|entry| match &entry.kind {
            Kind::Copy(source) => Some(source.as_path()),
            _ => None,
        })
    }

    pub fn text(&mut self, path: &str, text: &str) {
        self.add(path, Kind::Text(text.to_owned()), 0o644);
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, Kind::Link(target.to_owned()), 0o777);
    }

    /// Writes the layer as a tar archive, not compressed: it is for loading on this machine, and the
    /// digest does not hang on a compressor's version.
    ///
    /// # Errors
    /// A file cannot be read, or `out` cannot be written.
    pub(super) fn write(&self, out: impl Write) -> Result<()> {
        let mut archive = Builder::new(out);
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry)
                .with_context(|| format!("cannot write /{path} of the image"))?;
        }
        archive.finish()?;
        Ok(())
    }

    fn add(&mut self, path: &str, kind: Kind, mode: u32) {
        let path = key(path);
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.entries.contains_key(parent)
        {
            self.add(parent, Kind::Folder, 0o755);
        }
        self.entries.insert(path.to_owned(), Entry { kind, mode, owner: 0 });
    }
}

fn key(path: &str) -> &str {
    path.trim_matches('/')
}

fn append(archive: &mut Builder<impl Write>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = header(entry.mode, entry.owner);
    match &entry.kind {
        Kind::Folder => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, path, target)?;
        }
        Kind::Copy(source) => {
            let bytes = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            append_file(archive, &mut header, path, &bytes)?;
        }
        Kind::Text(text) => append_file(archive, &mut header, path, text.as_bytes())?,
    }
    Ok(())
}

/// A header whose bytes are the same on every machine.
pub(super) fn header(mode: u32, owner: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(mode);
    header.set_uid(owner.into());
    header.set_gid(owner.into());
    header.set_mtime(0);
    header.set_size(0);
    header
}

pub(super) fn append_file(
    archive: &mut Builder<impl Write>,
    header: &mut Header,
    path: &str,
    bytes: &[u8],
) -> Result<()> {
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    Ok(archive.append_data(header, path, bytes)?)
}
