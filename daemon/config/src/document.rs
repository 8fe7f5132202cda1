//! A configuration as it was written: values, and where each stands. Text of a TOML file and flags of the command
//! line go in; nothing is checked but the TOML grammar.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::Command;
use crate::keys::{Flag, Key, Kind, join, key, split};
use crate::problem::{Place, Problem, Problems};

/// Values by table, and where each was written.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub(crate) root: toml::Table,
    /// By instance path, as in `models[0].dtype`; tables too.
    pub(crate) written: BTreeMap<String, Written>,
    /// The file that was read, if any.
    file: Option<Arc<str>>,
    naming: Naming,
    /// Only a manifest can.
    pub(crate) asks_for_gpu: bool,
}

/// How keys are spelled where the document was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Naming {
    #[default]
    Toml,
    Manifest,
}

#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Document {
    /// Reads TOML; `name` is the file's name in messages, and relative paths are meant from its folder.
    pub fn parse(name: &str, text: &str) -> Result<Document, Problems> {
        let file = File { name: name.into(), text };
        let table = DeTable::parse(text).map_err(|error| Problems(vec![not_toml(&file, &error)]))?;
        let mut document = Document { file: Some(Arc::clone(&file.name)), ..Document::default() };
        document.root = document.read_table(&file, "", table.get_ref());
        Ok(document)
    }

    /// What `ostro serve` and `ostro run` start from, before any flag.
    pub fn for_command(command: Command) -> Document {
        let name = match command {
            Command::Serve => "serve",
            Command::Run => "run",
        };
        let mut document = Document::default();
        document.root.insert("command".to_owned(), Value::from(name));
        let written = Written { place: Place::Flag(format!("ostro {name}")), text: format!("{name:?}") };
        document.written.insert("command".to_owned(), written);
        document
    }

    pub(crate) fn for_manifest(file: Option<Arc<str>>) -> Document {
        Document { file, naming: Naming::Manifest, ..Document::default() }
    }

    pub fn has_models(&self) -> bool {
        self.root.contains_key("models")
    }

    /// Sets a key as its flag does, over what a file says. A flag of a model sets the only model.
    pub fn set_flag(&mut self, key: &Key, flag: &Flag, texts: &[String]) -> Result<(), Problem> {
        let place = Place::Flag(format!("--{}", flag.long));
        let text = as_written(&key.kind, &texts.join(" "));
        let (mut table, mut path) = (&mut self.root, String::new());
        let mut names: Vec<&str> = key.path.split('.').collect();
        let last = names.pop().unwrap_or_default();
        for name in names {
            path = join(&path, name);
            let default =
                if name == "models" { Value::Array(Vec::new()) } else { Value::Table(toml::Table::new()) };
            let mut entry = table.entry(name).or_insert(default);
            if let Value::Array(models) = entry {
                path.push_str("[0]");
                if models.is_empty() {
                    models.push(Value::Table(toml::Table::new()));
                }
                entry = match models.as_mut_slice() {
                    [only] => only,
                    _ => {
                        let message = "sets one model, but the file has several".to_owned();
                        return Err(Problem { place, key: key.path.clone(), value: Some(text), message });
                    }
                };
            }
            table = match entry {
                Value::Table(table) => table,
                // The file has a plain value where a table belongs; `check` says so.
                _ => return Ok(()),
            };
        }
        for alias in &key.aliases {
            table.remove(alias);
            self.written.remove(&join(&path, alias));
        }
        table.insert(last.to_owned(), flag_value(&key.kind, flag, texts));
        self.written.insert(join(&path, last), Written { place, text });
        Ok(())
    }

    /// The place of a key, else of the nearest table around it.
    pub(crate) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(written) = self.written.get(path) {
                return written.place.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => {
                    let file = self.file.clone();
                    return file.map_or(Place::Default, |name| Place::File { name, line: None });
                }
            }
        }
    }

    /// The folder of the file that a value was written in.
    pub(crate) fn folder(&self, path: &str) -> Option<PathBuf> {
        match &self.written.get(path)?.place {
            Place::File { name, .. } => Path::new(&**name).parent().map(Path::to_owned),
            Place::Flag(_) | Place::Default => None,
        }
    }

    pub(crate) fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let value = self.written.get(path).map(|written| shown(path, &written.text));
        let (key, message) = (self.naming.key(path), self.naming.message(message.into()));
        Problem { place: self.place(path), key, value, message }
    }

    fn read_table(&mut self, file: &File<'_>, path: &str, table: &DeTable<'_>) -> toml::Table {
        let mut values = toml::Table::new();
        for (name, value) in table {
            let path = join(path, name.get_ref());
            self.note(file, &path, name.span().start, value.span());
            let value = self.read_value(file, &path, value.get_ref());
            values.insert(name.get_ref().to_string(), value);
        }
        values
    }

    fn read_value(&mut self, file: &File<'_>, path: &str, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::Table(table) => Value::Table(self.read_table(file, path, table)),
            DeValue::Array(values) => {
                let items = values.iter().enumerate().map(|(index, value)| {
                    let path = format!("{path}[{index}]");
                    self.note(file, &path, value.span().start, value.span());
                    self.read_value(file, &path, value.get_ref())
                });
                Value::Array(items.collect())
            }
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                // Too large for any key: kept as a number that none takes.
                Err(_) => Value::Float(f64::INFINITY),
            },
            DeValue::Float(float) => float.as_str().parse().map_or(Value::Float(f64::NAN), Value::Float),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Datetime(datetime) => Value::Datetime(*datetime),
        }
    }

    fn note(&mut self, file: &File<'_>, path: &str, start: usize, value: std::ops::Range<usize>) {
        let text = file.text.get(value).unwrap_or_default().to_owned();
        self.written.insert(path.to_owned(), Written { place: file.place(start), text });
    }
}

struct File<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Place::File { name: Arc::clone(&self.name), line: Some(line) }
    }
}

fn not_toml(file: &File<'_>, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or_default();
    let mut message = format!("is not TOML: {}", error.message().trim_end());
    if error.message() == "duplicate key" {
        message.push_str(&format!(" {}", file.text.get(span.clone()).unwrap_or_default()));
    }
    Problem { place: file.place(span.start), key: String::new(), value: None, message }
}

/// The text of a flag as a file would have it: numbers and switches plain, all else in quotes.
fn as_written(kind: &Kind, text: &str) -> String {
    let plain = match kind {
        Kind::Switch | Kind::OptionalBool => text.parse::<bool>().is_ok(),
        Kind::Whole { .. } | Kind::WholeChoice(_) | Kind::Fraction => text.parse::<f64>().is_ok(),
        _ => false,
    };
    if plain { text.to_owned() } else { format!("{text:?}") }
}

/// A value for a message: one line, not long, no secret.
fn shown(path: &str, text: &str) -> String {
    let text = text.trim();
    if may_be_token(path, text) && !names_a_source(text) {
        return "\"***\"".to_owned();
    }
    match text.char_indices().nth(80) {
        None if !text.contains('\n') => text.to_owned(),
        end => {
            let line = text[..end.map_or(text.len(), |(end, _)| end)].lines().next().unwrap_or_default();
            let quote = if line.starts_with('"') && !line.starts_with("\"\"\"") { "\"" } else { "" };
            format!("{line}…{quote}")
        }
    }
}

/// Also under a key that is misspelt, or stands in the wrong table.
fn may_be_token(path: &str, text: &str) -> bool {
    let (_, name) = split(path);
    let is_text = text.starts_with(['"', '\'', '[']);
    let is_unknown = || key(path).is_none() && is_text && name.to_lowercase().contains("token");
    path == "global.token_source" || text.contains("literal:") || is_unknown()
}

/// Says where a token lies, and is none: not even a mistyped `literal` with the secret behind it.
fn names_a_source(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'']);
    ["cache", "none"].contains(&text) || ["env:", "path:", "file:"].iter().any(|kind| text.starts_with(kind))
}

/// The value a flag's text stands for; what does not fit its kind stays text, which the checks then refuse.
fn flag_value(kind: &Kind, flag: &Flag, texts: &[String]) -> Value {
    let text = texts.last().map(String::as_str).unwrap_or_default();
    let kept = || Value::from(text);
    match kind {
        Kind::Switch | Kind::OptionalBool => text.parse().map_or_else(|_| kept(), Value::Boolean),
        Kind::Whole { .. } if flag.bytes => bytes(text).map_or_else(kept, Value::Integer),
        Kind::Whole { .. } | Kind::WholeChoice(_) => text.parse().map_or_else(|_| kept(), Value::Integer),
        Kind::Fraction => text.parse().map_or_else(|_| kept(), Value::Float),
        Kind::Text(_) | Kind::Path | Kind::Choice(_) => kept(),
        Kind::List(_) => {
            let split = |text: &'_ String| match flag.separator {
                Some(separator) => text.split(separator).map(Value::from).collect(),
                None => vec![Value::from(text.as_str())],
            };
            Value::Array(texts.iter().flat_map(split).collect())
        }
        Kind::Tables(keys) => Value::Array(texts.iter().map(|text| table_value(keys, text)).collect()),
    }
}

/// `FIRST=SECOND` sets the first two keys of a table; a text that starts with `{` is the table as JSON.
fn table_value(keys: &[String], text: &str) -> Value {
    if text.starts_with('{') {
        return serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    }
    match (text.split_once('='), keys) {
        (Some((first, second)), [first_key, second_key, ..]) => {
            let pairs = [(first_key, first), (second_key, second)];
            Value::Table(pairs.into_iter().map(|(key, text)| (key.clone(), Value::from(text))).collect())
        }
        _ => Value::from(text),
    }
}

fn bytes(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}
