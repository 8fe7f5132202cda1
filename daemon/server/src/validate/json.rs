//! Reads a JSON body into wire types; errors carry the path of the value they are about.

use ostro_json::check_keys;
use serde::Deserialize;

use super::fields;
use crate::error::ApiError;

/// Reads the fields of `T` out of a JSON object that may hold those of other structs too.
pub(super) fn part<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        // The position is of no use to a program's author and `param` says where.
        let reason = in_json_terms(inner.split(" at line ").next().unwrap_or(&inner));
        let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        match (path.as_str(), missing) {
            (".", Some(name)) => ApiError::invalid(name, format!("{name} is missing")),
            (".", None) => ApiError::malformed(reason),
            (path, Some(name)) => {
                let param = format!("{path}.{name}");
                ApiError::invalid(param.clone(), format!("{param} is missing"))
            }
            (path, None) => ApiError::invalid(path, format!("{path}: {reason}")),
        }
    })
}

/// What callers know instead of Rust's types.
fn in_json_terms(reason: &str) -> String {
    let Some((value, expected)) = reason.rsplit_once("expected ") else { return reason.to_owned() };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "an object",
        "a sequence" => "an array",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{value}expected {expected}")
}

pub(super) fn text(body: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        ApiError::malformed(format!("the body is not UTF-8 from byte {}", error.valid_up_to()))
    })?;
    check_keys(body).map_err(|error| ApiError::malformed(error.to_string()))?;
    Ok(text)
}

/// Reads a body that is one struct.
///
/// # Errors
/// Not UTF-8, not JSON, an unknown or repeated field, or a value of another type.
pub fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    let text = text(body)?;
    fields::check(text, fields::names::<T>())?;
    part(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_are_told_in_json_terms() {
        #[derive(Debug, Deserialize)]
        struct Fields {
            #[serde(rename = "max_tokens")]
            _max_tokens: u64,
        }
        let error = part::<Fields>(r#"{"max_tokens":-1}"#).unwrap_err().to_string();
        assert_eq!(error, "max_tokens: invalid value: integer `-1`, expected a whole number of at least 0");
        let Err(ApiError::Invalid { param, message }) = part::<Fields>("{}") else { panic!() };
        assert_eq!((param.as_deref(), message.as_str()), (Some("max_tokens"), "max_tokens is missing"));
        #[derive(Debug, Deserialize)]
        struct List {
            #[serde(rename = "of")]
            _of: Vec<Fields>,
        }
        let error = |text| match part::<List>(text) {
            Err(ApiError::Invalid { param: Some(param), message }) => (param, message),
            other => panic!("{other:?}"),
        };
        assert_eq!(error(r#"{"of":[{}]}"#).0, "of[0].max_tokens");
        assert_eq!(error(r#"{"of":[3]}"#).1, "of[0]: invalid type: integer `3`, expected an object");
        assert_eq!(error(r#"{"of":3}"#).1, "of: invalid type: integer `3`, expected an array");
    }
}
