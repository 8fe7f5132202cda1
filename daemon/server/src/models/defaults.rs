//! Sampling defaults from a model directory's `generation_config.json`, or from a GGUF file's metadata.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ostro_engine::PublishedSampling;
use serde::Deserialize;

use crate::validate::SamplingDefaults;

const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DefaultsError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a generation configuration")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{path}: {name} = {value} is out of range")]
    Range { path: PathBuf, name: &'static str, value: f64 },
}

#[derive(Deserialize)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

/// Reads the defaults beside the weights; a directory without the file, and a file of weights, has none there.
///
/// # Errors
/// The file is there and cannot be used.
pub fn read(model: &Path) -> Result<SamplingDefaults, DefaultsError> {
    let path = model.join("generation_config.json");
    let failed = |source| DefaultsError::Read { path: path.clone(), source };
    match std::fs::metadata(&path) {
        Ok(about) if about.is_file() => {}
        // To open a named pipe would wait for its writer.
        Ok(_) => return Err(failed(io::Error::other("it is not a regular file"))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(SamplingDefaults::default());
        }
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(&path).map_err(failed)?;
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    let config: GenerationConfig = serde_json::from_slice(&text)
        .map_err(|source| DefaultsError::Parse { path: path.clone(), source })?;
    let GenerationConfig { do_sample, temperature, top_p, top_k, min_p, repetition_penalty } = config;
    let published = PublishedSampling { temperature, top_p, top_k, min_p, repetition_penalty };
    let defaults = checked(&path, &published)?;
    // A temperature beside `false` is for who asks for sampling.
    let temperature = if do_sample == Some(false) { Some(0.0) } else { defaults.temperature };
    Ok(SamplingDefaults { temperature, ..defaults })
}

/// The defaults that the file at `path` has of its own.
///
/// # Errors
/// One is out of range.
pub fn checked(path: &Path, published: &PublishedSampling) -> Result<SamplingDefaults, DefaultsError> {
    let within = |name, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(DefaultsError::Range { path: path.to_owned(), name, value })
        }
        value => Ok(value.map(|value| value as f32)),
    };
    let &PublishedSampling { temperature, top_p, top_k, min_p, repetition_penalty } = published;
    Ok(SamplingDefaults {
        temperature: within("temperature", temperature, 0.0, 2.0)?,
        // Some files say 0 where they mean off.
        top_p: within("top_p", top_p, 0.0, 1.0)?.filter(|&p| p > 0.0),
        top_k: within("top_k", top_k, -1.0, 1e6)?.map(|k| k as u32).filter(|&k| k > 0),
        min_p: within("min_p", min_p, 0.0, 1.0)?,
        repetition_penalty: within("repetition_penalty", repetition_penalty, 0.01, 10.0)?,
        seed: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_defaults_and_its_absence_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), SamplingDefaults::default());
        assert_eq!(read(&folder.path().join("model.gguf")).unwrap(), SamplingDefaults::default());
        let path = folder.path().join("generation_config.json");
        std::fs::write(&path, r#"{"temperature":0.6,"top_k":20,"eos_token_id":[1,2],"do_sample":true}"#)
            .unwrap();
        let expected =
            SamplingDefaults { temperature: Some(0.6), top_k: Some(20), ..SamplingDefaults::default() };
        assert_eq!(read(folder.path()).unwrap(), expected);
        std::fs::write(&path, r#"{"temperature":0.6,"top_k":20,"do_sample":false}"#).unwrap();
        let greedy = SamplingDefaults { temperature: Some(0.0), ..expected };
        assert_eq!(read(folder.path()).unwrap(), greedy);
        std::fs::write(&path, r#"{"temperature":-1}"#).unwrap();
        assert!(matches!(read(folder.path()), Err(DefaultsError::Range { name: "temperature", .. })));
        std::fs::write(&path, "[").unwrap();
        assert!(matches!(read(folder.path()), Err(DefaultsError::Parse { .. })));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(read(folder.path()), Err(DefaultsError::Read { .. })));
    }
}
