//! JSON of any form in which no object has a key twice: readers differ in which of its values they take.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Of an object, at any depth: each takes up to forty times its bytes in the body.
const VALUES_MAX: usize = 16_384;

/// Any value.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctValue(pub Value);

/// An object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DistinctMap(pub Map<String, Value>);

impl<'de> Deserialize<'de> for DistinctValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for DistinctMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = deserializer.deserialize_map(MapVisitor)?;
        match map.0.values().map(values_in).sum::<usize>() > VALUES_MAX {
            true => Err(D::Error::custom(format_args!("more than {VALUES_MAX} values"))),
            false => Ok(map),
        }
    }
}

/// With itself.
fn values_in(value: &Value) -> usize {
    let inside: usize = match value {
        Value::Array(items) => items.iter().map(values_in).sum(),
        Value::Object(fields) => fields.values().map(values_in).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    1 + inside
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = DistinctValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<DistinctValue, E> {
        Ok(DistinctValue(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<DistinctValue, E> {
        Ok(DistinctValue(value.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<DistinctValue, E> {
        Ok(DistinctValue(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<DistinctValue, E> {
        Ok(DistinctValue(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<DistinctValue, E> {
        Ok(DistinctValue(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<DistinctValue, E> {
        Ok(DistinctValue(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<DistinctValue, A::Error> {
        let mut list = Vec::new();
        while let Some(DistinctValue(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(DistinctValue(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DistinctValue, A::Error> {
        MapVisitor.visit_map(map).map(|DistinctMap(fields)| DistinctValue(Value::Object(fields)))
    }
}

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = DistinctMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctMap, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match fields.entry(name) {
                Entry::Vacant(field) => {
                    let DistinctValue(value) = map.next_value()?;
                    field.insert(value);
                }
                Entry::Occupied(field) => {
                    return Err(A::Error::custom(format_args!("the key {:?} appears twice", field.key())));
                }
            }
        }
        Ok(DistinctMap(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_str;

    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"z":[null,true,-1,18446744073709551615,1.5,1e-320,"é",{"a":{},"b":[]}],"a":"\n"}"#;
        assert_eq!(from_str::<DistinctValue>(text).unwrap().0, from_str::<Value>(text).unwrap());
        let DistinctMap(fields) = from_str(text).unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["z", "a"]);
        assert!(from_str::<DistinctMap>("[]").unwrap_err().to_string().contains("expected an object"));
    }

    #[test]
    fn a_key_appears_once_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[[{"b":{"a":1,"\u0061":2}}]]"#] {
            let error = from_str::<DistinctValue>(text).unwrap_err().to_string();
            assert!(error.starts_with("the key \"a\" appears twice"), "{error}");
        }
        assert!(from_str::<DistinctValue>(r#"{"a":{"b":1},"b":[{"a":1},{"a":1}]}"#).is_ok());
    }
}
