//! A directory as Hugging Face tools write it: config.json beside one or more safetensors files.
//!
//! Opens the files and resolves names; `header` checks one file, `index` the list of shards. Names of
//! files come from the index and are refused unless they are plain names in the directory.

mod error;
mod header;
mod index;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::{HeaderError, SafetensorsError};
pub use header::{Header, TensorEntry};
pub use index::INDEX_BYTES_MAX;

use super::config::Config;
use super::mapped_file::MappedFile;
use super::{TensorView, WeightType};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// An open model directory.
#[derive(Debug)]
pub struct SafetensorsDir {
    path: PathBuf,
    config: Config,
    shards: Vec<Shard>,
    /// Name → index into `shards`.
    tensors: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    map: MappedFile,
    header: Header,
}

impl SafetensorsDir {
    /// Whether it has what is opened first. config.json alone says nothing: it often lies beside GGUF files.
    pub(super) fn has_weights(path: &Path) -> bool {
        [SINGLE_FILE, INDEX_FILE].iter().any(|file| path.join(file).exists())
    }

    /// Reads config.json and the header of every shard.
    pub fn open(path: &Path) -> Result<Self, SafetensorsError> {
        let config = Config::open(&path.join("config.json"))?;
        if let Some(method) = config.quantisation_method() {
            return Err(SafetensorsError::Quantised(method));
        }
        let mut directory =
            SafetensorsDir { path: path.into(), config, shards: Vec::new(), tensors: BTreeMap::new() };
        directory.open_shards()?;
        Ok(directory)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let shard = &self.shards[*self.tensors.get(name)?];
        shard.header.tensor(name, shard.map.bytes())
    }

    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether the bytes are of any file.
    pub(super) fn read_ahead(&self, bytes: &[u8]) -> bool {
        self.shards.iter().any(|shard| shard.map.read_ahead(bytes))
    }

    fn open_shards(&mut self) -> Result<(), SafetensorsError> {
        let index = self.path.join(INDEX_FILE);
        if self.path.join(SINGLE_FILE).exists() {
            let names = self.open_shard(SINGLE_FILE)?;
            self.tensors = names.into_iter().map(|name| (name, 0)).collect();
            return Ok(());
        }
        if !index.exists() {
            return Err(SafetensorsError::NoWeights);
        }
        for (file, listed) in index::read_shards(&index)? {
            let shard = self.shards.len();
            let held = self.open_shard(&file)?;
            for name in listed {
                if held.binary_search(&name).is_err() {
                    return Err(SafetensorsError::NotInShard { name, file });
                }
                self.tensors.insert(name, shard);
            }
        }
        Ok(())
    }

    /// Opens one file and returns the names it holds, sorted.
    fn open_shard(&mut self, file: &str) -> Result<Vec<String>, SafetensorsError> {
        let map = MappedFile::open(&self.path.join(file))?;
        let header = Header::parse(map.bytes())
            .map_err(|source| SafetensorsError::Header { file: file.into(), source })?;
        let names = header.tensor_names().map(str::to_owned).collect();
        self.shards.push(Shard { map, header });
        Ok(names)
    }
}
