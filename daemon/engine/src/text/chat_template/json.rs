//! JSON into template values, keeping the order of keys, and template values into JSON as Python's
//! `json.dumps` writes it: models were trained on exactly that spelling.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

const DEPTH_MAX: usize = 128;
const INDENT_MAX: usize = 32;

pub(super) fn values(values: &[Json]) -> Value {
    values.iter().map(value).collect()
}

pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => values(items),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, item)| (key.clone(), value(item)))),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (_, Some(integer)) => Value::from(integer),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

/// Of all texts in a value.
pub(super) fn text_bytes(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(text_bytes).sum(),
        Json::Object(map) => map.iter().map(|(key, item)| key.len() + text_bytes(item)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    }
}

/// The filter: `tojson(indent=none, ensure_ascii=false, separators=none, sort_keys=false)`. Unlike
/// Jinja's own it does not escape for HTML.
pub(super) fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(positional) => Some(positional),
        None => options.get("indent")?,
    };
    let indent = indent.filter(|indent| !indent.is_none() && !indent.is_undefined()).map(usize::try_from);
    let indent = indent.transpose()?;
    if indent.is_some_and(|indent| indent > INDENT_MAX) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: indent is too large"));
    }
    let default_separators = || (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    let separators = match options.get::<Option<Vec<String>>>("separators")? {
        Some(pair) => <[String; 2]>::try_from(pair).map(|[item, key]| (item, key)).map_err(|_| {
            Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair of strings")
        })?,
        None => default_separators(),
    };
    let mut writer = Writer {
        output: String::new(),
        indent,
        separators,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    writer.write(value, 0)?;
    Ok(writer.output)
}

struct Writer {
    output: String,
    indent: Option<usize>,
    /// Between items, and between key and value.
    separators: (String, String),
    ascii: bool,
    sorted: bool,
}

impl Writer {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX || self.output.len() > super::OUTPUT_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: value is too deep or too long"));
        }
        match value.kind() {
            ValueKind::None => self.output.push_str("null"),
            ValueKind::Bool => self.output.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth)?,
            other => {
                let message = format!("tojson: a value of type {other} is not JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.output.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.separate(std::mem::replace(&mut empty, false), depth + 1);
            self.write(&item, depth + 1)?;
        }
        self.close(']', empty, depth);
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sorted {
            keys.sort_by_key(|key| key.to_string());
        }
        self.output.push('{');
        let empty = keys.is_empty();
        for (index, key) in keys.iter().enumerate() {
            self.separate(index == 0, depth + 1);
            self.string(&key.to_string());
            self.output.push_str(&self.separators.1);
            self.write(&value.get_item(key)?, depth + 1)?;
        }
        self.close('}', empty, depth);
        Ok(())
    }

    fn separate(&mut self, first: bool, depth: usize) {
        if !first {
            self.output.push_str(&self.separators.0);
        }
        self.line(depth);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.output.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.output.push('\n');
            self.output.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn number(&mut self, value: &Value) {
        if value.is_integer() {
            self.output.push_str(&value.to_string());
        } else {
            let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
            self.output.push_str(&python_float(number));
        }
    }

    fn string(&mut self, text: &str) {
        self.output.push('"');
        for character in text.chars() {
            match character {
                '"' => self.output.push_str("\\\""),
                '\\' => self.output.push_str("\\\\"),
                '\n' => self.output.push_str("\\n"),
                '\r' => self.output.push_str("\\r"),
                '\t' => self.output.push_str("\\t"),
                '\u{8}' => self.output.push_str("\\b"),
                '\u{c}' => self.output.push_str("\\f"),
                plain if plain >= ' ' && !(self.ascii && plain > '\u{7e}') => self.output.push(plain),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        write!(self.output, "\\u{unit:04x}").expect("writing to a string cannot fail");
                    }
                }
            }
        }
        self.output.push('"');
    }
}

/// Python's `repr`: shortest digits, an exponent below 1e-4 and from 1e16 on.
fn python_float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}
