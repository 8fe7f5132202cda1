//! Models that are on this machine already.

use std::fs;
use std::path::{Path, PathBuf};

use super::WeightsError;
use super::names::is_inside;
use super::select::{CONFIG, select};

/// The model of a path: the file itself, the named or only GGUF file of a directory, or the directory.
pub(super) fn model_in(path: &Path, file: Option<&str>) -> Result<PathBuf, WeightsError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(file) = file.filter(|file| is_inside(file) && path.join(file).is_file()) {
        return Ok(path.join(file));
    }
    if file.is_none() && path.join(CONFIG).is_file() {
        return Ok(path.to_owned());
    }
    let selection = select(&path.display().to_string(), &files_of(path)?, file)?;
    Ok(path.join(&selection.files()[0]))
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
