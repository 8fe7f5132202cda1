//! The values in force and where each comes from, for `ostro config show`.

use std::fmt::Write;

use toml::Value;

use crate::check::{Loaded, header};
use crate::keys::{Key, keys, split, tables, without_indices};
use crate::problem::Place;
use crate::recase::to_camel;
use crate::validate::Values;

/// One key of one table, with the value in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// As in `models[0].dtype`.
    pub path: String,
    /// `None`: absent, which means `meaning`.
    pub value: Option<Value>,
    pub meaning: Option<String>,
    pub place: Place,
}

impl Loaded {
    /// Every key, in the order of the file; those of models once for each model.
    pub fn effective(&self) -> Vec<Effective> {
        let values = Values::of(&self.config);
        let mut effective = Vec::new();
        for table in tables() {
            for instance in values.instances(&table.path) {
                let keys = keys().iter().filter(|key| split(&key.path).0 == table.path);
                effective.extend(keys.map(|key| self.effective_key(&values, &instance, key)));
            }
        }
        effective
    }

    fn effective_key(&self, values: &Values, table: &str, key: &Key) -> Effective {
        let path = crate::keys::join(table, split(&key.path).1);
        let value = match path.as_str() {
            "global.token_source" => Some(Value::from(self.config.global.token_source.masked())),
            path => values.get(path).cloned(),
        };
        let place = self.document.written.get(&path).map_or(Place::Default, |written| written.place.clone());
        Effective { path, value, meaning: key.default_text.clone(), place }
    }

    /// The configuration in force as a TOML file that says of each value where it comes from.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut current = String::new();
        let mut effective = self.effective();
        // All tables of one model stand together.
        effective.sort_by_key(|entry| model_index(&entry.path));
        for entry in effective {
            let (table, name) = split(&entry.path);
            if table != current {
                let plain = without_indices(table);
                // Writing to a String cannot fail.
                let _ = writeln!(text, "\n{}", header(&plain));
                current = table.to_owned();
            }
            let _ = match (entry.value, entry.meaning) {
                (Some(value), _) => writeln!(text, "{name} = {value}  # {}", entry.place),
                (None, Some(meaning)) => writeln!(text, "# {name}: {meaning}"),
                (None, None) => writeln!(text, "# {name}: not set"),
            };
        }
        if self.config.models.is_empty() {
            text.push_str("\n# no [[models]] yet: --model-id or a file names one\n");
        }
        text
    }
}

impl Loaded {
    /// What was written, as TOML: no defaults, so that a later version's do not change it.
    pub fn written_toml(&self) -> String {
        toml::to_string(&self.document.root).expect("a document holds what TOML can say")
    }

    /// What was written, as the fields of an object's `spec`.
    pub fn written_spec(&self) -> serde_json::Map<String, serde_json::Value> {
        in_camel(&self.document.root)
    }
}

fn in_camel(table: &toml::Table) -> serde_json::Map<String, serde_json::Value> {
    table.iter().map(|(name, value)| (to_camel(name), json(value))).collect()
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Table(table) => in_camel(table).into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::String(text) => text.as_str().into(),
        Value::Integer(whole) => (*whole).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(datetime) => datetime.to_string().into(),
    }
}

/// 0 outside of models, else the model's number from 1.
fn model_index(path: &str) -> usize {
    let index = path.strip_prefix("models[").and_then(|rest| rest.split_once(']'));
    index.and_then(|(index, _)| index.parse().ok()).map_or(0, |index: usize| index + 1)
}
