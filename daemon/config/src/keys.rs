//! The list of keys, read from the JSON schema of `DaemonConfig`: what the flags, the checks, the partner rules and
//! the reference page are made from.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::json_schema::{choices, type_of, without_null};
use crate::{Command, DaemonConfig};

/// One key of the configuration file.
#[derive(Clone, Debug)]
pub struct Key {
    /// As in `models.device.cpu`; models are not numbered.
    pub path: String,
    pub doc: String,
    pub flag: Option<Flag>,
    /// Other names of the key in its table.
    pub aliases: Vec<String>,
    pub kind: Kind,
    pub default: Option<toml::Value>,
    /// What an absent key means, where that is no fixed value.
    pub default_text: Option<String>,
    /// One of these must be set for this key to be set; empty where there is no such rule.
    pub requires: Vec<String>,
    /// None of these may be set together with this key.
    pub conflicts: Vec<String>,
    /// The one command the key belongs to.
    pub command: Option<Command>,
    /// Whether the file must have it, in the tables where it stands.
    pub required: bool,
}

/// The command line's way to set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub long: String,
    pub short: Option<char>,
    pub aliases: Vec<String>,
    /// Splits one text into the values of a list.
    pub separator: Option<char>,
    /// Numbers may carry a unit of bytes.
    pub bytes: bool,
}

/// What values a key takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`; on the command line a switch.
    Switch,
    /// `true`, `false` or absent.
    OptionalBool,
    Whole {
        min: u64,
        max: u64,
    },
    WholeChoice(Vec<u64>),
    /// More than 0, at most 1.
    Fraction,
    /// Any text, or what the words say.
    Text(Option<String>),
    /// A file or directory.
    Path,
    Choice(Vec<String>),
    List(Box<Kind>),
    /// An array of tables with these keys.
    Tables(Vec<String>),
}

impl Kind {
    /// What is allowed, as the end of "must be".
    pub fn allowed(&self) -> String {
        match self {
            Kind::Switch | Kind::OptionalBool => "true or false".to_owned(),
            Kind::Whole { min, max } if *max == i64::MAX as u64 => format!("a whole number from {min}"),
            Kind::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Kind::WholeChoice(values) => any_of(values.iter().map(u64::to_string)),
            Kind::Fraction => "a number more than 0 and at most 1".to_owned(),
            Kind::Text(Some(allowed)) => allowed.clone(),
            Kind::Text(None) => "a text".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Choice(values) => any_of(values.iter().map(|value| format!("{value:?}"))),
            Kind::List(of) => format!("a list, each of it {}", of.allowed()),
            Kind::Tables(keys) => format!("a list of tables with the keys {}", keys.join(", ")),
        }
    }
}

fn any_of(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    match values.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => values.concat(),
    }
}

/// One table of the configuration file; the top level has an empty path.
#[derive(Clone, Debug)]
pub struct Table {
    pub path: String,
    pub doc: String,
}

/// Every key, in the order of the types.
pub fn keys() -> &'static [Key] {
    &REGISTRY.keys
}

/// Every table, in the order of the types.
pub fn tables() -> &'static [Table] {
    &REGISTRY.tables
}

/// The key of a path, with or without numbers (`models[0].dtype`).
pub fn key(path: &str) -> Option<&'static Key> {
    let path = without_indices(path);
    keys().iter().find(|key| key.path == path)
}

/// The key that a flag sets. Keys of a model share some flags with keys for all models, which come first.
pub fn key_of_flag(long: &str) -> Option<(&'static Key, &'static Flag)> {
    keys().iter().find_map(|key| key.flag.as_ref().filter(|flag| flag.long == long).map(|flag| (key, flag)))
}

pub(crate) fn is_table(path: &str) -> bool {
    let path = without_indices(path);
    tables().iter().any(|table| table.path == path)
}

/// `models[1].dtype` is an instance of the key `models.dtype`.
pub(crate) fn without_indices(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for character in path.chars() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            character if !inside => plain.push(character),
            _ => {}
        }
    }
    plain
}

pub(crate) fn join(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

/// `("paged_attn", "mode")` of `paged_attn.mode`.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

struct Registry {
    keys: Vec<Key>,
    tables: Vec<Table>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<DaemonConfig>();
    let mut registry = Registry { keys: Vec::new(), tables: Vec::new() };
    collect(&mut registry, "", schema.as_value());
    registry
});

fn collect(registry: &mut Registry, path: &str, schema: &Value) {
    registry.tables.push(Table { path: path.to_owned(), doc: text(schema, "description") });
    let required = texts(schema, "required");
    let properties = schema.get("properties").and_then(Value::as_object);
    let (nested, leaves): (Vec<_>, Vec<_>) =
        properties.into_iter().flatten().partition(|(_, schema)| nested_table(schema).is_some());
    for (name, schema) in leaves {
        registry.keys.push(Key { required: required.contains(name), ..read_key(join(path, name), schema) });
    }
    for (name, schema) in nested {
        if let Some(table) = nested_table(schema) {
            collect(registry, &join(path, name), table);
        }
    }
}

/// The schema of a table, or of the tables of an array, that has keys of its own.
fn nested_table(schema: &Value) -> Option<&Value> {
    let table = match schema.get("items") {
        Some(items) if schema.get("x-flag").is_none() => items,
        Some(_) => return None,
        None => schema,
    };
    table.get("properties").map(|_| table)
}

fn read_key(path: String, schema: &Value) -> Key {
    let flag = schema.get("x-flag").and_then(Value::as_str).map(|names| read_flag(names, schema));
    Key {
        path,
        doc: text(schema, "description"),
        flag,
        aliases: texts(schema, "x-alias"),
        kind: read_kind(schema),
        default: schema.get("default").and_then(|value| toml::Value::try_from(value).ok()),
        default_text: schema.get("x-default").and_then(Value::as_str).map(str::to_owned),
        requires: texts(schema, "x-requires"),
        conflicts: texts(schema, "x-conflicts"),
        command: schema.get("x-command").and_then(|value| serde_json::from_value(value.clone()).ok()),
        required: false,
    }
}

fn read_flag(names: &str, schema: &Value) -> Flag {
    let names: Vec<&str> = names.split(", ").collect();
    let mut longs = names.iter().filter_map(|name| name.strip_prefix("--")).map(str::to_owned);
    Flag {
        long: longs.next().unwrap_or_default(),
        aliases: longs.collect(),
        short: names.iter().find(|name| !name.starts_with("--")).and_then(|name| name.chars().nth(1)),
        separator: text(schema, "x-separator").chars().next(),
        bytes: text(schema, "x-unit") == "bytes",
    }
}

fn read_kind(schema: &Value) -> Kind {
    let (schema, optional) = without_null(schema);
    let allowed = schema.get("x-allowed").and_then(Value::as_str).map(str::to_owned);
    let choices = choices(schema);
    match type_of(schema) {
        "boolean" if optional => Kind::OptionalBool,
        "boolean" => Kind::Switch,
        "integer" if !choices.is_empty() => {
            Kind::WholeChoice(choices.iter().filter_map(Value::as_u64).collect())
        }
        "integer" => {
            Kind::Whole { min: number(schema, "minimum", 0), max: number(schema, "maximum", i64::MAX as u64) }
        }
        "number" => Kind::Fraction,
        "array" => match &schema["items"] {
            items if type_of(items) == "object" => Kind::Tables(property_names(items)),
            items => Kind::List(Box::new(read_kind(items))),
        },
        _ if !choices.is_empty() => {
            Kind::Choice(choices.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ if schema.get("format").and_then(Value::as_str) == Some("path") => Kind::Path,
        _ => Kind::Text(allowed),
    }
}

fn property_names(schema: &Value) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn text(schema: &Value, name: &str) -> String {
    let text = schema.get(name).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn texts(schema: &Value, name: &str) -> Vec<String> {
    match schema.get(name) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn number(schema: &Value, name: &str, absent: u64) -> u64 {
    schema.get(name).and_then(Value::as_u64).unwrap_or(absent)
}
