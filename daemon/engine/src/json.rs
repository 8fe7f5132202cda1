//! Keys that serde_json keeps for itself.
//!
//! Where any crate of a program turns on its feature `raw_value`, as axum does, an object whose first key is such a one
//! is read as a `Value` out of the string behind the key, which may be 128 levels deep again and hold another one. A
//! hundred kilobytes of these overflow the stack, which ends the process. So whatever strangers wrote is checked first.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

const PREFIX: &str = "$serde_json::private::";

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a key begins with \"{PREFIX}\", which is not supported")]
pub struct PrivateKey;

/// As `serde_json::from_slice`, for what strangers wrote.
pub(crate) fn from_slice<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    check_bytes(text).map_err(serde_json::Error::custom)?;
    serde_json::from_slice(text)
}

pub(crate) fn check_bytes(text: &[u8]) -> Result<(), PrivateKey> {
    std::str::from_utf8(text).map_or(Ok(()), check_keys)
}

/// Text that is no JSON is left to whoever reads it.
pub fn check_keys(text: &str) -> Result<(), PrivateKey> {
    if !text.contains("serde_json") && !text.contains("\\u") {
        return Ok(());
    }
    let mut found = false;
    let _ = Keys { found: &mut found }.deserialize(&mut serde_json::Deserializer::from_str(text));
    if found { Err(PrivateKey) } else { Ok(()) }
}

/// Passes over all values, and ends at the first such key.
struct Keys<'a> {
    found: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! pass_over {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<(), E> {
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    pass_over!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Keys { found: &mut *self.found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key::<String>()? {
            if key.starts_with(PREFIX) {
                *self.found = true;
                return Err(A::Error::custom(PrivateKey));
            }
            fields.next_value_seed(Keys { found: &mut *self.found })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_at_any_depth_and_however_they_are_spelt() {
        for text in [
            r#"{"$serde_json::private::RawValue":"1"}"#,
            r#"[1, {"a": {"b": 1, "\u0024serde_json\u003a:private::Number": "1"}}]"#,
            r#"{"$serde_json::private::RawValue": unfinished"#,
        ] {
            assert_eq!(check_keys(text), Err(PrivateKey), "{text}");
        }
        for text in [
            r#"{"a": "$serde_json::private::RawValue", "\u00e9": [null, true, -1, 1.5, 3]}"#,
            r#"{"serde_json": {}"#,
            "\"\\u00e9\"",
            "[[[",
        ] {
            assert_eq!(check_keys(text), Ok(()), "{text}");
        }
        assert_eq!(check_bytes(b"\xff"), Ok(()));
    }
}
