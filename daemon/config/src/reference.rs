//! The reference page of the configuration file, written from the keys themselves.

use std::fmt::Write;

use toml::Value;

use crate::check::{alone, header};
use crate::keys::{Key, Kind, Table, keys, split, tables};
use crate::{Command, DaemonConfig};

const HEAD: &str = "# Configuration file

<!-- Written by `OSTRO_UPDATE_DOCS=1 cargo test -p ostro-config reference_page` from the types in daemon/config/src; do not
edit. -->

`ostro from-config -f FILE.toml` reads one TOML file; `ostro config check -f FILE.toml` says what is wrong with it, by
line and key; `ostro config show -f FILE.toml` prints the values in force and where each comes from. Every key has the
flag given here, and the flags of `ostro serve` and `ostro run` go through the same checks. Unknown keys are errors.
A key whose capability this build lacks is refused at start by name, never ignored; the last column says so.

A relative path in a file is taken from that file's folder, one in a flag from the working directory. The same goes for
a `model_id` that is a path; one like `owner/name` is a hub id unless there is such a directory. `-f -` reads the file
from standard input, and its paths are taken from the working directory.
";

/// The page, in Markdown.
pub fn reference_page() -> String {
    let mut page = HEAD.to_owned();
    for table in tables() {
        let keys: Vec<&Key> = keys().iter().filter(|key| split(&key.path).0 == table.path).collect();
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\n{}\n\n", heading(table), table.doc);
        page.push_str(
            "| key | flag | value | default | meaning | in this build |\n|---|---|---|---|---|---|\n",
        );
        for key in keys {
            page.push_str(&row(key));
        }
    }
    page
}

fn heading(table: &Table) -> String {
    match table.path.as_str() {
        "" => "Top level".to_owned(),
        path => header(path),
    }
}

fn row(key: &Key) -> String {
    let aliases: String = key.aliases.iter().map(|alias| format!(", `{alias}`")).collect();
    let name = format!("`{}`{aliases}", split(&key.path).1);
    let default = match (&key.default, &key.default_text) {
        (_, Some(text)) => text.clone(),
        _ if key.required => "required".to_owned(),
        (Some(default), None) => format!("`{default}`"),
        (None, None) => "not set".to_owned(),
    };
    let cells = [name, flags(key), key.kind.allowed(), default, meaning(key), support(key)];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn flags(key: &Key) -> String {
    let Some(flag) = &key.flag else { return "–".to_owned() };
    let short = flag.short.map(|short| format!("`-{short}`"));
    let longs = std::iter::once(&flag.long).chain(&flag.aliases).map(|long| format!("`--{long}`"));
    short.into_iter().chain(longs).collect::<Vec<_>>().join(", ")
}

fn meaning(key: &Key) -> String {
    let mut meaning = key.doc.clone();
    let list = |paths: &[String], joint: &str| {
        paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(joint)
    };
    match key.command {
        Some(Command::Serve) => meaning.push_str(" For `serve`."),
        Some(Command::Run) => meaning.push_str(" For `run`."),
        None => {}
    }
    if !key.requires.is_empty() {
        let _ = write!(meaning, " Requires {}.", list(&key.requires, " or "));
    }
    if !key.conflicts.is_empty() {
        let _ = write!(meaning, " Conflicts with {}.", list(&key.conflicts, ", "));
    }
    meaning
}

/// Which of the values a key takes this build serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Support {
    All,
    /// Nothing but the default.
    None,
    Without(Vec<Value>),
}

impl Key {
    pub fn support(&self) -> Support {
        let values = samples(self);
        let refused: Vec<Value> = values.iter().filter(|value| is_refused(self, value)).cloned().collect();
        match (refused.len(), values.len()) {
            (0, _) => Support::All,
            (refused, all) if refused >= all - usize::from(all > 1 && self.default.is_some()) => {
                Support::None
            }
            _ => Support::Without(refused),
        }
    }
}

fn support(key: &Key) -> String {
    match key.support() {
        Support::All => "yes".to_owned(),
        Support::None => "no".to_owned(),
        Support::Without(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            format!("not {}", values.join(", "))
        }
    }
}

fn is_refused(key: &Key, value: &Value) -> bool {
    let config: Option<DaemonConfig> = Value::Table(alone(key, value.clone())).try_into().ok();
    config.is_some_and(|config| !config.unsupported().is_empty())
}

/// Values that a key takes: all of them, or one of each sort that is not its default.
pub(crate) fn samples(key: &Key) -> Vec<Value> {
    match &key.kind {
        Kind::Switch => vec![Value::from(true)],
        Kind::OptionalBool => vec![Value::from(true), Value::from(false)],
        Kind::Whole { max, .. } => vec![Value::from((*max).min(65_000) as i64)],
        Kind::WholeChoice(values) => values.iter().map(|value| Value::from(*value as i64)).collect(),
        Kind::Fraction => vec![Value::from(0.5)],
        Kind::Choice(values) => values.iter().map(|value| Value::from(value.as_str())).collect(),
        // Templates are told by their ending.
        Kind::Path => vec![Value::from("/sample.json")],
        Kind::Text(_) => texts(key).iter().map(|text| Value::from(*text)).collect(),
        Kind::List(_) => vec![Value::Array(vec![Value::from("0:16")])],
        Kind::Tables(names) => {
            let entry = names.iter().take(2).map(|name| (name.clone(), Value::from("sample"))).collect();
            vec![Value::Array(vec![Value::Table(entry)])]
        }
    }
}

fn texts(key: &Key) -> &'static [&'static str] {
    match key.path.as_str() {
        "global.token_source" => &["none"],
        "models.format.quantized_file" => &["sample.gguf", "1.gguf;2.gguf"],
        _ => &["sample"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::key;

    #[test]
    fn reference_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/config.md");
        let page = reference_page();
        if std::env::var_os("OSTRO_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference")).unwrap();
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == page, "run OSTRO_UPDATE_DOCS=1 cargo test -p ostro-config reference_page");
    }

    #[test]
    fn samples_are_allowed_values() {
        for key in keys() {
            for value in samples(key) {
                let config = Value::Table(alone(key, value.clone())).try_into::<DaemonConfig>();
                assert!(config.is_ok(), "{} = {value}: {config:?}", key.path);
            }
        }
    }

    #[test]
    fn partners_are_keys() {
        for partner in keys().iter().flat_map(|key| key.requires.iter().chain(&key.conflicts)) {
            assert!(key(partner).is_some(), "{partner}");
        }
    }
}
