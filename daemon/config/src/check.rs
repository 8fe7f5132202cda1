//! Turns a document into a configuration: known keys, allowed values, then the rules between keys. Collects every
//! problem of a stage before it gives up.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use crate::DaemonConfig;
use crate::document::Document;
use crate::keys::{Key, Kind, is_table, join, key, keys, split, tables, without_indices};
use crate::problem::{Problem, Problems};

/// A checked configuration and where its values come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: DaemonConfig,
    pub(crate) document: Document,
}

impl Loaded {
    /// Reads and checks the text of a TOML file; `name` is the file's name in messages.
    pub fn from_toml(name: &str, text: &str) -> Result<Loaded, Problems> {
        Loaded::from_document(Document::parse(name, text)?)
    }

    pub fn from_document(document: Document) -> Result<Loaded, Problems> {
        let loaded = Loaded::read(document)?;
        let violations = loaded.config.validate();
        if violations.is_empty() { Ok(loaded) } else { Err(loaded.document.problems(violations)) }
    }

    /// For a listing, which needs no model.
    pub fn for_listing(document: Document) -> Result<Loaded, Problems> {
        let loaded = Loaded::read(document)?;
        let violations = loaded.config.validate().into_iter().filter(|violation| violation.key != "models");
        let violations: Vec<_> = violations.collect();
        if violations.is_empty() { Ok(loaded) } else { Err(loaded.document.problems(violations)) }
    }

    /// Each key for itself is right.
    fn read(mut document: Document) -> Result<Loaded, Problems> {
        let problems = check_keys(&mut document);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let config = DaemonConfig::deserialize(Value::Table(document.root.clone())).map_err(|error| {
            // Each value was taken alone, so only a disagreement between schema and types comes here.
            Problems(vec![document.problem("", error.message())])
        })?;
        Ok(Loaded { config, document })
    }

    /// A problem with a key's value that showed only later. The message continues `key = value`.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        self.document.problem(path, message)
    }

    /// The folder that a relative path in this key is meant from; `None` is the working directory.
    pub fn folder(&self, path: &str) -> Option<PathBuf> {
        self.document.folder(path).filter(|folder| *folder != Path::new(""))
    }

    /// By the resources of a manifest, which the daemon's configuration has no key for.
    pub fn asks_for_gpu(&self) -> bool {
        self.document.asks_for_gpu
    }

    /// The keys that ask for what this build cannot do, if any.
    pub fn unsupported(&self) -> Result<(), Problems> {
        let violations = self.config.unsupported();
        if violations.is_empty() { Ok(()) } else { Err(self.document.problems(violations)) }
    }
}

impl Document {
    fn problems(&self, violations: Vec<crate::Violation>) -> Problems {
        Problems(
            violations.into_iter().map(|violation| self.problem(&violation.key, violation.message)).collect(),
        )
    }
}

fn check_keys(document: &mut Document) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut root = std::mem::take(&mut document.root);
    check_table(document, "", &mut root, &mut problems);
    document.root = root;
    problems
}

fn check_table(document: &mut Document, path: &str, table: &mut toml::Table, problems: &mut Vec<Problem>) {
    rename_aliases(document, path, table, problems);
    for (name, value) in table.iter_mut() {
        let path = join(path, name);
        // A quoted name may hold anything, also what looks like a path.
        let plain = !name.contains(['[', ']', '.']);
        if let Some(key) = key(&path).filter(|_| plain) {
            match check_value(key, value) {
                Some(message) => problems.push(document.problem(&path, message)),
                None => resolve(document, key, &path, value),
            }
        } else if plain && is_table(&path) {
            check_nested(document, &path, value, problems);
        } else {
            problems.push(unknown(document, &path, value));
        }
    }
    let plain = without_indices(path);
    for key in keys().iter().filter(|key| key.required && split(&key.path).0 == plain) {
        let name = split(&key.path).1;
        if !table.contains_key(name) {
            problems.push(document.problem(&join(path, name), format!("is missing: {}", key.doc)));
        }
    }
}

fn check_nested(document: &mut Document, path: &str, value: &mut Value, problems: &mut Vec<Problem>) {
    let many = path == "models";
    match value {
        Value::Table(table) if !many => check_table(document, path, table, problems),
        Value::Array(items) if many => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                match item {
                    Value::Table(table) => check_table(document, &path, table, problems),
                    _ => problems.push(document.problem(&path, "must be a table, written [[models]]")),
                }
            }
        }
        _ if many => problems.push(document.problem(path, "must be tables, each written [[models]]")),
        _ => {
            let written = without_indices(path);
            problems.push(document.problem(path, format!("must be a table, written [{written}]")));
        }
    }
}

fn rename_aliases(document: &mut Document, path: &str, table: &mut toml::Table, problems: &mut Vec<Problem>) {
    let plain = without_indices(path);
    for key in keys().iter().filter(|key| split(&key.path).0 == plain) {
        let name = split(&key.path).1;
        for alias in &key.aliases {
            let Some(value) = table.remove(alias) else { continue };
            let (from, to) = (join(path, alias), join(path, name));
            if table.contains_key(name) {
                problems.push(document.problem(&from, format!("is another name of {to}, which is set too")));
                continue;
            }
            table.insert(name.to_owned(), value);
            if let Some(written) = document.written.remove(&from) {
                document.written.insert(to, written);
            }
        }
    }
}

/// What is wrong with a value: the types decide, by reading a configuration that holds nothing else.
fn check_value(key: &Key, value: &Value) -> Option<String> {
    let error = DaemonConfig::deserialize(Value::Table(alone(key, value.clone()))).err()?;
    let allowed = key.kind.allowed();
    match &key.kind {
        // The tables' own errors say which part is wrong.
        Kind::Tables(_) => Some(format!("must be {allowed}: {}", error.message())),
        // As the texts' own errors do.
        Kind::Text(None) | Kind::Path if value.is_str() => Some(error.message().to_owned()),
        _ => Some(format!("must be {allowed}")),
    }
}

/// A path in a file is meant from the file's folder.
fn resolve(document: &Document, key: &Key, path: &str, value: &mut Value) {
    let Some(folder) = document.folder(path) else { return };
    let Value::String(text) = value else { return };
    let from_folder = |path: &str| folder.join(path).to_string_lossy().into_owned();
    if key.kind == Kind::Path {
        *text = from_folder(text);
    } else if key.path == "global.token_source"
        && let Some(path) = text.strip_prefix("path:")
    {
        *text = format!("path:{}", from_folder(path));
    }
}

/// A configuration with one value.
pub(crate) fn alone(key: &Key, value: Value) -> toml::Table {
    let (table_path, name) = split(&key.path);
    let mut table = toml::Table::from_iter([(name.to_owned(), value)]);
    for name in table_path.rsplit('.').filter(|name| !name.is_empty()) {
        let value = if name == "models" {
            table.entry("model_id").or_insert(Value::from("m"));
            Value::Array(vec![Value::Table(table)])
        } else {
            Value::Table(table)
        };
        table = toml::Table::from_iter([(name.to_owned(), value)]);
    }
    table
}

fn unknown(document: &Document, path: &str, value: &Value) -> Problem {
    let tables = value.is_table() || value.as_array().is_some_and(|items| items.iter().any(Value::is_table));
    let what = if tables { "table" } else { "key" };
    let hint = match nearest(path) {
        Some(suggestion) if is_table(&suggestion) => {
            format!("did you mean {}?", header(&without_indices(&suggestion)))
        }
        Some(suggestion) => format!("did you mean {suggestion}?"),
        None => known_in(split(path).0),
    };
    let problem = document.problem(path, format!("is not a known {what}; {hint}"));
    // The value of a table is its header, which says nothing more.
    if tables { Problem { value: None, ..problem } } else { problem }
}

/// As a file writes it.
pub(crate) fn header(table: &str) -> String {
    if table == "models" { "[[models]]".to_owned() } else { format!("[{table}]") }
}

/// The nearest name in the same table, else the key of that name in another one.
fn nearest(path: &str) -> Option<String> {
    let (table, name) = split(path);
    let plain = without_indices(table);
    let siblings = keys().iter().map(|key| &key.path).chain(tables().iter().map(|table| &table.path));
    let siblings = siblings.filter(|path| !path.is_empty() && split(path).0 == plain);
    let near = |candidate: &str| strsim::jaro_winkler(candidate, name);
    let best = siblings.map(|path| split(path).1).max_by(|a, b| near(a).total_cmp(&near(b)));
    let elsewhere = || keys().iter().find(|key| split(&key.path).1 == name).map(|key| key.path.clone());
    match best.filter(|best| near(best) > 0.8) {
        Some(best) => Some(join(table, best)),
        None => elsewhere(),
    }
}

fn known_in(table: &str) -> String {
    let plain = without_indices(table);
    let names = keys().iter().map(|key| &key.path).chain(tables().iter().map(|table| &table.path));
    let names: Vec<&str> =
        names.filter(|path| !path.is_empty() && split(path).0 == plain).map(|path| split(path).1).collect();
    match names.is_empty() {
        true => "its table is not known either".to_owned(),
        false => format!("known here are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests;
