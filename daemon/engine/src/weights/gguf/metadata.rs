//! The typed key-value pairs at the head of a GGUF file.

use std::collections::BTreeMap;

use super::GgufError;
use super::cursor::Cursor;
use super::value::{Array, NumberType, Strings, Value};

/// Real files have about fifty.
const KEYS_MAX: u64 = 1 << 16;
/// The limit of the format.
const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// All pairs of a file, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

/// A key that is not as its reader needs it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetadataError {
    #[error("key {0:?} is missing")]
    Missing(String),
    #[error("key {key:?} is {found}, expected {expected}")]
    Type { key: String, found: &'static str, expected: &'static str },
    #[error("key {key:?} is {value}, allowed is {allowed}")]
    Range { key: String, value: String, allowed: String },
}

impl Metadata {
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Adds a pair; for writers of files and for tests.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.entries.insert(key.into(), value.into());
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A non-negative integer of any width.
    pub fn uint(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        self.typed(key, "a non-negative integer", |value| match value {
            Value::Number(number) => number.as_uint(),
            _ => None,
        })
    }

    /// A float of either width, or an integer.
    pub fn float(&self, key: &str) -> Result<Option<f64>, MetadataError> {
        self.typed(key, "a number", |value| match value {
            Value::Number(number) => Some(number.as_f64()),
            _ => None,
        })
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.typed(key, "a boolean", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub fn str(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        self.typed(key, "a string", |value| match value {
            Value::String(value) => Some(value.as_str()),
            _ => None,
        })
    }

    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, MetadataError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::Strings(value)) => Some(value),
            _ => None,
        })
    }

    /// An array of integers of any width; `Type` when one of them does not fit i64.
    pub fn ints(&self, key: &str) -> Result<Option<impl Iterator<Item = i64>>, MetadataError> {
        self.typed(key, "an array of integers", |value| match value {
            Value::Array(Array::Numbers(numbers))
                if numbers.iter().all(|number| number.as_int().is_some()) =>
            {
                Some(numbers.iter().map(|number| number.as_int().expect("just seen to be one")))
            }
            _ => None,
        })
    }

    /// An array of floats.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, MetadataError> {
        self.typed(key, "an array of floats", |value| match value {
            Value::Array(Array::Numbers(numbers)) if numbers.number_type().is_float() => {
                Some(numbers.iter().map(|number| number.as_f64() as f32).collect())
            }
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        let type_error = || MetadataError::Type { key: key.into(), found: value.type_name(), expected };
        convert(value).map(Some).ok_or_else(type_error)
    }

    pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Self, GgufError> {
        if count > KEYS_MAX {
            return Err(GgufError::Count { what: "metadata keys", count, limit: KEYS_MAX });
        }
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            cursor.set_what("a metadata key");
            let offset = cursor.position();
            let key = cursor.str()?;
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(GgufError::KeyLength { offset, length: key.len(), limit: KEY_BYTES_MAX });
            }
            cursor.set_what("a metadata value");
            let value = read_value(cursor, key)?;
            if entries.insert(key.to_owned(), value).is_some() {
                return Err(GgufError::DuplicateKey { key: key.into(), offset });
            }
        }
        Ok(Metadata { entries })
    }
}

pub(super) const TYPE_BOOL: u32 = 7;
pub(super) const TYPE_STRING: u32 = 8;
pub(super) const TYPE_ARRAY: u32 = 9;

fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, GgufError> {
    let offset = cursor.position();
    match cursor.u32()? {
        TYPE_BOOL => Ok(Value::Bool(read_bool(cursor, key)?)),
        TYPE_STRING => Ok(Value::String(cursor.str()?.to_owned())),
        TYPE_ARRAY => Ok(Value::Array(read_array(cursor, key)?)),
        id => match NumberType::from_id(id) {
            Some(number_type) => {
                Ok(Value::Number(number_type.decode(cursor.take(number_type.bytes() as u64)?)))
            }
            None => Err(GgufError::ValueType { key: key.into(), offset, id }),
        },
    }
}

fn read_bool(cursor: &mut Cursor<'_>, key: &str) -> Result<bool, GgufError> {
    let offset = cursor.position();
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(GgufError::Bool { key: key.into(), offset, value }),
    }
}

fn read_array(cursor: &mut Cursor<'_>, key: &str) -> Result<Array, GgufError> {
    let offset = cursor.position();
    let id = cursor.u32()?;
    let count = cursor.u64()?;
    // Counts are checked by reading: nothing is reserved ahead that the file does not hold.
    match id {
        TYPE_BOOL => {
            let bytes = cursor.take(count)?;
            match bytes.iter().position(|&byte| byte > 1) {
                Some(at) => {
                    Err(GgufError::Bool { key: key.into(), offset: offset + 12 + at, value: bytes[at] })
                }
                None => Ok(Array::Bools(bytes.iter().map(|&byte| byte == 1).collect())),
            }
        }
        TYPE_STRING => {
            let mut strings = Strings::default();
            for _ in 0..count {
                strings.push(cursor.str()?);
            }
            Ok(Array::Strings(strings))
        }
        TYPE_ARRAY => Err(GgufError::NestedArray { key: key.into(), offset }),
        id => {
            let number_type = NumberType::from_id(id).ok_or_else(|| GgufError::ValueType {
                key: key.into(),
                offset,
                id,
            })?;
            let bytes = cursor.take(count.saturating_mul(number_type.bytes() as u64))?;
            Ok(Array::Numbers(number_type.array(bytes)))
        }
    }
}
