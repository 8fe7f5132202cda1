//! Models that are on this machine already.

use std::fs;
use std::path::{Path, PathBuf};

use super::names::is_inside;
use super::select::{Selection, select};
use super::{Format, WeightsError};

/// The model of a path: the file itself, the named or only GGUF file of a directory, or the directory. What a directory holds
/// is told as of a repository on the hub.
pub(super) fn model_in(
    path: &Path,
    file: Option<&str>,
    format: Option<Format>,
) -> Result<PathBuf, WeightsError> {
    if !path.is_dir() {
        return match file.filter(|file| !path.ends_with(file)) {
            Some(file) => Err(no_file_beside(path, file)),
            None => Ok(path.to_owned()),
        };
    }
    if let Some(file) = file.filter(|file| is_inside(file) && path.join(file).is_file()) {
        return Ok(path.join(file));
    }
    match select(&path.display().to_string(), &files_of(path)?, file, format)? {
        Selection::Gguf(file) => Ok(path.join(file)),
        Selection::Directory(_) => Ok(path.to_owned()),
    }
}

fn no_file_beside(path: &Path, file: &str) -> WeightsError {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let model = path.display().to_string();
    WeightsError::FileNotFound { model, file: file.to_owned(), candidates: vec![name] }
}

fn files_of(folder: &Path) -> Result<Vec<String>, WeightsError> {
    let failed = |source| WeightsError::io(folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_safetensors_belong_to_the_only_gguf_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let add = |name: &str| fs::write(path.join(name), "{}").unwrap();
        add("config.json");
        assert!(matches!(model_in(path, None, None), Err(WeightsError::NoWeights { .. })));
        add("m.gguf");
        assert_eq!(model_in(path, None, None).unwrap(), path.join("m.gguf"));
        add("model.safetensors");
        assert_eq!(model_in(path, None, None).unwrap(), path);
        assert_eq!(model_in(path, None, Some(Format::Gguf)).unwrap(), path.join("m.gguf"));
        assert_eq!(model_in(path, Some("m.gguf"), None).unwrap(), path.join("m.gguf"));
    }
}
