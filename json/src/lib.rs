//! JSON that strangers wrote, in programs that no text may end.
//!
//! serde_json keeps some keys for itself. With its feature `raw_value`, an object whose first key is such a one is read as
//! a `Value` out of the string behind the key, which may be 128 levels deep again and hold another one. A hundred
//! kilobytes of these overflow the stack, which ends the process. So whatever strangers wrote is checked first.

#![forbid(unsafe_code)]

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

const PREFIX: &str = "$serde_json::private::";

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a key begins with \"{PREFIX}\", which is not supported")]
pub struct PrivateKey;

/// As `serde_json::from_slice`, for what strangers wrote.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    check_keys(text).map_err(serde_json::Error::custom)?;
    serde_json::from_slice(text)
}

/// An item of a list, as `from_slice` reads it; none where it cannot, so that it hides no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable<T>(pub Option<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Readable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Readable(from_slice(text.get().as_bytes()).ok()))
    }
}

/// Looks at strings alone and minds no other rule of JSON: readers differ in which they keep, and one that passes over an
/// error must not meet a key behind it. Up to a reader's first error, strings begin and end here where they do for it.
pub fn check_keys(text: &[u8]) -> Result<(), PrivateKey> {
    let mut rest = text;
    while let Some((string, behind)) = next_string(rest) {
        let is_key = behind.trim_ascii_start().starts_with(b":");
        if is_key && begins_with_prefix(string) {
            return Err(PrivateKey);
        }
        rest = behind;
    }
    Ok(())
}

/// The first string, as it is written, and what follows its closing quote.
fn next_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = &text[memchr::memchr(b'"', text)? + 1..];
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', text.get(end..)?)?;
        match text[end] {
            b'"' => return Some((&text[..end], &text[end + 1..])),
            _ => end += 2,
        }
    }
}

/// No character of the prefix has an escape but that by its number.
fn begins_with_prefix(mut string: &[u8]) -> bool {
    PREFIX.bytes().all(|expected| {
        let (found, length) = match string {
            [b'\\', b'u', digits @ ..] => (escaped(digits), 6),
            [byte, ..] => (Some(u32::from(*byte)), 1),
            [] => return false,
        };
        string = string.get(length..).unwrap_or_default();
        found == Some(u32::from(expected))
    })
}

fn escaped(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits.get(..4)?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_at_any_depth_and_however_they_are_spelt() {
        for text in [
            r#"{"$serde_json::private::RawValue":"1"}"#,
            r#"[1, {"a": {"b": 1, "\u0024serde_json\u003a:private::Number"
                : "1"}}]"#,
            r#"{"$serde_json::private::RawValue": unfinished"#,
            r#"{"a\"": "\\", "$serde_json::private::": 1}"#,
        ] {
            assert_eq!(check_keys(text.as_bytes()), Err(PrivateKey), "{text}");
        }
        for text in [
            r#"{"a": "$serde_json::private::RawValue", "\u00e9": [null, true, -1, 1.5, 3]}"#,
            r#"{"serde_json": {}, "$serde_json": 1, "\u002": 1, "\u": 2}"#,
            r#"{"a": "\"$serde_json::private::RawValue\":"}"#,
            "\"\\u00e9\"",
            "\"a\\",
            "[[[",
        ] {
            assert_eq!(check_keys(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_item_that_cannot_be_read_hides_no_other() {
        use serde_json::{Value, from_str, json};

        let deep = "[".repeat(200) + &"]".repeat(200);
        let text = format!(r#"[1, {{"\u0024serde_json::private::RawValue": "1"}}, {deep}, {{"a": 2}}]"#);
        let listed: Vec<Readable<Value>> = from_str(&text).unwrap();
        let read = listed.into_iter().map(|Readable(item)| item).collect::<Vec<_>>();
        assert_eq!(read, [Some(json!(1)), None, None, Some(json!({ "a": 2 }))]);
    }

    /// What one reader refuses another one passes over.
    #[test]
    fn keys_are_found_behind_what_is_no_json() {
        for before in ["1e999", r#""\ud800""#, &"[".repeat(500), "\u{0}", "]]", "'", "nul"] {
            let text = format!(r#"{{"a": {before}, "$serde_json::private::RawValue": "1"}}"#);
            assert_eq!(check_keys(text.as_bytes()), Err(PrivateKey), "{text}");
        }
        assert_eq!(check_keys(b"\xff {\"$serde_json::private::RawValue\":"), Err(PrivateKey));
    }
}
