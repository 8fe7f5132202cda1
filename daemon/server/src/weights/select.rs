//! Which files of a listing make up the model. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::names::is_inside;
use super::{Format, WeightsError};

pub(super) const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
/// Taken along where they exist.
const BESIDE: [&str; 6] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// What else it has is not kept: as a value it took forty times its bytes.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: Files,
}

/// Those that a map of tensors names.
struct Files(BTreeSet<String>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Files, D::Error> {
        deserializer.deserialize_map(FilesVisitor)
    }
}

struct FilesVisitor;

impl<'de> Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of tensors to files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
        let mut files = BTreeSet::new();
        while let Some((_, file)) = map.next_entry::<IgnoredAny, String>()? {
            files.insert(file);
        }
        Ok(Files(files))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Gguf(String),
    /// With the index, the shards it names belong to it too.
    Directory(Vec<String>),
}

impl Selection {
    pub(super) fn files(&self) -> &[String] {
        match self {
            Selection::Gguf(file) => std::slice::from_ref(file),
            Selection::Directory(files) => files,
        }
    }
}

/// `file` is what the user asked for. Without it and a format, safetensors win over GGUF.
pub(super) fn select(
    model: &str,
    names: &[String],
    file: Option<&str>,
    format: Option<Format>,
) -> Result<Selection, WeightsError> {
    if let Some(file) = file {
        return match names.iter().any(|name| name == file) {
            true => Ok(Selection::Gguf(file.to_owned())),
            false => Err(WeightsError::FileNotFound {
                model: model.to_owned(),
                file: file.to_owned(),
                candidates: gguf_files(names),
            }),
        };
    }
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let weights = [INDEX, WEIGHTS].into_iter().find(|name| has(name));
    let is_directory = format != Some(Format::Gguf) && has(CONFIG);
    if let (true, Some(weights)) = (is_directory, weights) {
        let beside = BESIDE.into_iter().filter(|name| has(name));
        let files = [CONFIG].into_iter().chain(beside).chain([weights]);
        return Ok(Selection::Directory(files.map(str::to_owned).collect()));
    }
    let candidates = if format == Some(Format::Plain) { Vec::new() } else { gguf_files(names) };
    match candidates.as_slice() {
        [] => Err(WeightsError::NoWeights { model: model.to_owned(), format }),
        [only] => Ok(Selection::Gguf(only.clone())),
        _ => Err(WeightsError::AmbiguousFile { model: model.to_owned(), candidates }),
    }
}

/// Projectors of vision models are not models.
fn gguf_files(names: &[String]) -> Vec<String> {
    let is_model = |name: &&String| {
        let name = name.to_ascii_lowercase();
        name.ends_with(".gguf") && !name.contains("mmproj")
    };
    let mut files: Vec<String> = names.iter().filter(is_model).cloned().collect();
    files.sort();
    files
}

/// The files that a safetensors index names, each once.
pub(super) fn shards(model: &str, index: &[u8]) -> Result<Vec<String>, WeightsError> {
    let malformed = |what: String| WeightsError::Malformed { model: model.to_owned(), what };
    let Index { weight_map: Files(files) } = ostro_json::from_slice(index).map_err(|error| {
        let error: String = error.to_string().chars().take(256).collect();
        malformed(format!("{INDEX} cannot be read: {error}"))
    })?;
    // As the engine takes them.
    let is_shard = |file: &String| is_inside(file) && !file.contains('/') && file.ends_with(".safetensors");
    match files.iter().all(is_shard) {
        true => Ok(files.into_iter().collect()),
        false => Err(malformed(format!("{INDEX} names a file that is not a weight file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], file: Option<&str>) -> Result<Selection, WeightsError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        select("o/m", &names, file, None)
    }

    #[test]
    fn a_format_chooses_among_weights_of_both() {
        let names = ["config.json", "model.safetensors", "m.gguf"].map(str::to_owned);
        let select = |names: &[String], format| select("o/m", names, None, Some(format));
        assert_eq!(select(&names, Format::Gguf).unwrap(), Selection::Gguf("m.gguf".into()));
        assert!(matches!(select(&names, Format::Plain), Ok(Selection::Directory(_))));
        let message = |names, format| select(names, format).unwrap_err().to_string();
        assert_eq!(message(&names[..2], Format::Gguf), "o/m has no GGUF file, which its format asks for");
        assert_eq!(
            message(&names[2..], Format::Plain),
            "o/m has no config.json with model.safetensors (or its index), which its format asks for"
        );
    }

    #[test]
    fn the_only_gguf_file_is_taken() {
        let names = ["README.md", "m-Q4_0.gguf", "mmproj-m-f16.gguf"];
        assert_eq!(chosen(&names, None).unwrap(), Selection::Gguf("m-Q4_0.gguf".into()));
    }

    #[test]
    fn of_several_gguf_files_one_must_be_named() {
        let names = ["b.gguf", "a.gguf", "config.json"];
        let message = chosen(&names, None).unwrap_err().to_string();
        assert_eq!(message, "o/m has several GGUF files; name one by quantized_file: a.gguf, b.gguf");
        assert_eq!(chosen(&names, Some("b.gguf")).unwrap(), Selection::Gguf("b.gguf".into()));
        let message = chosen(&names, Some("c.gguf")).unwrap_err().to_string();
        assert_eq!(message, "o/m has no file c.gguf; it has: a.gguf, b.gguf");
    }

    #[test]
    fn a_directory_brings_what_lies_beside_its_weights() {
        let names = ["config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin", "x.gguf"];
        let expected = ["config.json", "tokenizer.json", "model.safetensors"].map(str::to_owned).to_vec();
        assert_eq!(chosen(&names, None).unwrap(), Selection::Directory(expected));
        let sharded = ["config.json", INDEX, "model-00001-of-00002.safetensors"];
        let expected = ["config.json", INDEX].map(str::to_owned).to_vec();
        assert_eq!(chosen(&sharded, None).unwrap(), Selection::Directory(expected));
        assert!(matches!(
            chosen(&["config.json", "pytorch_model.bin"], None),
            Err(WeightsError::NoWeights { .. })
        ));
    }

    #[test]
    fn an_index_cannot_name_files_elsewhere() {
        let index = |file: &str| format!(r#"{{"weight_map": {{"a": "{file}", "b": "{file}"}}}}"#);
        assert_eq!(shards("o/m", index("m-1.safetensors").as_bytes()).unwrap(), ["m-1.safetensors"]);
        for file in ["../m.safetensors", "/m.safetensors", "sub/m.safetensors", "m.py", ""] {
            assert!(shards("o/m", index(file).as_bytes()).is_err(), "{file}");
        }
        for index in ["{}", "{", r#"{"weight_map": {"a": 1}}"#, r#"{"weight_map": []}"#] {
            assert!(shards("o/m", index.as_bytes()).is_err(), "{index}");
        }
    }
}
