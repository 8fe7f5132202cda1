//! Model files: what is on disk, checked, as named tensors and typed metadata.
//!
//! Every length, offset and count in a file is hostile until checked: a bad file gives an error that
//! names the tensor or key and the offset, never a panic or an allocation larger than the file.
//! Nothing here knows what a tensor is for; `model::roles` does.

pub mod config;
pub mod gguf;
mod mapped_file;
pub mod safetensors;
mod tensor;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use config::{Config, ConfigError};
pub use gguf::{GgufError, GgufFile};
pub use mapped_file::MapError;
pub use ostro_kernels::cpu::block::WeightType;
pub use safetensors::{SafetensorsDir, SafetensorsError};
pub use tensor::TensorView;

/// A model on disk, in either of the two forms.
#[derive(Debug)]
pub enum ModelFiles {
    Gguf(GgufFile),
    Safetensors(SafetensorsDir),
}

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot read {}", path.display())]
    Path { path: PathBuf, source: std::io::Error },
    #[error("{} holds neither config.json nor a .gguf file", .0.display())]
    NoModel(PathBuf),
    #[error("{} holds {count} .gguf files; name the one to load", path.display())]
    ManyGgufFiles { path: PathBuf, count: usize },
    #[error("{} is a safetensors file; name the directory that also holds config.json", .0.display())]
    LoneSafetensors(PathBuf),
    #[error("cannot load {}", path.display())]
    Gguf { path: PathBuf, source: GgufError },
    #[error("cannot load {}", path.display())]
    Safetensors { path: PathBuf, source: SafetensorsError },
}

impl ModelFiles {
    /// Opens a GGUF file, a directory with config.json and safetensors, or else a directory with one GGUF file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let about =
            std::fs::metadata(path).map_err(|source| OpenError::Path { path: path.into(), source })?;
        if about.is_dir() {
            return open_directory(path);
        }
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return Err(OpenError::LoneSafetensors(path.into()));
        }
        open_gguf(path)
    }

    /// The tensor of this name, `None` when the model has none.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        match self {
            ModelFiles::Gguf(file) => file.tensor(name),
            ModelFiles::Safetensors(directory) => directory.tensor(name),
        }
    }

    /// Begins to read a tensor's bytes, in the background.
    pub(crate) fn read_ahead(&self, tensor: &TensorView<'_>) {
        let is_ours = match self {
            ModelFiles::Gguf(file) => file.read_ahead(tensor.bytes),
            ModelFiles::Safetensors(directory) => directory.read_ahead(tensor.bytes),
        };
        debug_assert!(is_ours, "{} is of another model", tensor.name);
    }

    /// The names of all tensors, sorted.
    pub fn tensor_names(&self) -> Vec<&str> {
        match self {
            ModelFiles::Gguf(file) => file.tensor_names().collect(),
            ModelFiles::Safetensors(directory) => directory.tensor_names().collect(),
        }
    }
}

fn open_gguf(path: &Path) -> Result<ModelFiles, OpenError> {
    let file = GgufFile::open(path).map_err(|source| OpenError::Gguf { path: path.into(), source })?;
    Ok(ModelFiles::Gguf(file))
}

fn open_safetensors(path: &Path) -> Result<ModelFiles, OpenError> {
    let directory =
        SafetensorsDir::open(path).map_err(|source| OpenError::Safetensors { path: path.into(), source })?;
    Ok(ModelFiles::Safetensors(directory))
}

fn open_directory(path: &Path) -> Result<ModelFiles, OpenError> {
    let has_config = path.join("config.json").exists();
    if has_config && SafetensorsDir::has_weights(path) {
        return open_safetensors(path);
    }
    let read_error = |source| OpenError::Path { path: path.into(), source };
    let mut gguf_files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read_error)? {
        let file = entry.map_err(read_error)?.path();
        if file.extension().is_some_and(|extension| extension == "gguf") {
            gguf_files.push(file);
        }
    }
    match gguf_files.as_slice() {
        [] if has_config => open_safetensors(path),
        [] => Err(OpenError::NoModel(path.into())),
        [file] => open_gguf(file),
        many => Err(OpenError::ManyGgufFiles { path: path.into(), count: many.len() }),
    }
}
