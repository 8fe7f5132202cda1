//! The names at the top of a request body, before its values are read.
//!
//! An unknown name, a name that appears twice, a value beyond its size limit, and a known field that this
//! build does not serve end the request here, so that nothing a client asked for is silently ignored.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value};
use serde_json::value::RawValue;

use super::unsupported;
use crate::error::ApiError;

/// Longest value of a field, in bytes of JSON; the fields that carry prompts are bounded by the body alone.
const VALUE_BYTES_MAX: usize = 1 << 20;
const PROMPT_FIELDS: [&str; 3] = ["messages", "prompt", "tokens"];

/// Checks the names of the JSON object `text` against `known`.
///
/// # Errors
/// `text` is not a JSON object, or one of its fields cannot be served; the error names the field.
pub(crate) fn check(text: &str, known: &[&str]) -> Result<(), ApiError> {
    let mut refusal = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_map(NamesVisitor { known, refusal: &mut refusal });
    match (refusal, read.and_then(|()| deserializer.end())) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(ApiError::malformed(format!("the body is not valid JSON: {error}"))),
        (None, Ok(())) => Ok(()),
    }
}

struct NamesVisitor<'a> {
    known: &'a [&'a str],
    refusal: &'a mut Option<ApiError>,
}

impl<'de> Visitor<'de> for NamesVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: Vec<Cow<'de, str>> = Vec::new();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let value: &RawValue = map.next_value()?;
            let verdict = if seen.contains(&name.0) {
                Err(ApiError::invalid(name.0.as_ref(), format!("the field {:?} appears twice", name.0)))
            } else {
                check_field(&name.0, value.get(), self.known)
            };
            if let Err(refused) = verdict {
                *self.refusal = Some(refused);
                return Err(A::Error::custom("refused"));
            }
            seen.push(name.0);
        }
        Ok(())
    }
}

/// A key, borrowed from the body where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

fn check_field(name: &str, value: &str, known: &[&str]) -> Result<(), ApiError> {
    let is_known = known.contains(&name);
    if (is_known || unsupported::is_known(name))
        && value.len() > VALUE_BYTES_MAX
        && !PROMPT_FIELDS.contains(&name)
    {
        return Err(ApiError::invalid(
            name,
            format!("the value of {name:?} is larger than {VALUE_BYTES_MAX} bytes"),
        ));
    }
    if is_known { Ok(()) } else { unsupported::check(name, value, known) }
}

/// The field names a `#[derive(Deserialize)]` struct knows, aliases included.
pub(crate) fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Ends in an error after the names were handed over: there is no input to read.
    let _ = T::deserialize(NamesProbe(&mut names));
    names
}

struct NamesProbe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for NamesProbe<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("only structs have names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::tokenize::DetokenizeRequest;

    #[test]
    fn names_are_those_of_the_struct() {
        assert_eq!(names::<DetokenizeRequest>(), ["model", "tokens"]);
    }

    #[test]
    fn refusals_name_the_field() {
        let known = ["messages", "temperature", "top_p"];
        let refused = |text: &str| match check(text, &known) {
            Err(ApiError::Invalid { param, message }) => (param, message),
            Err(ApiError::Unsupported { param, message }) => (Some(param), message),
            other => panic!("{text}: {other:?}"),
        };
        let (param, message) = refused(r#"{"temprature":1}"#);
        assert_eq!(param.as_deref(), Some("temprature"));
        assert!(message.contains("did you mean \"temperature\""), "{message}");
        assert_eq!(refused(r#"{"top_p":1,"top_p":1}"#).1, "the field \"top_p\" appears twice");
        assert!(
            refused(&format!(r#"{{"top_p":"{}"}}"#, "x".repeat(2 << 20))).1.contains("larger than 1048576")
        );
        assert_eq!(refused(r#"{"tools":[{"type":"function"}]}"#).0.as_deref(), Some("tools"));
        assert_eq!(refused("[]").0, None);
        assert!(refused("{} x").1.contains("trailing characters"));
        assert!(refused("").1.contains("not valid JSON"));
        assert!(check(r#"{"tools":[],"user":"x","temperature":null}"#, &known).is_ok());
        assert!(check(&format!(r#"{{"messages":"{}"}}"#, "x".repeat(2 << 20)), &known).is_ok());
    }
}
