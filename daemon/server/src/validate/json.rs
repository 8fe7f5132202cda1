//! Reads a JSON body into wire types; errors carry the path of the value they are about.

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
        let reason = inner.split(" at line ").next().unwrap_or(&inner);
        match path.as_str() {
            "." => ApiError::malformed(reason),
            path => ApiError::invalid(path, format!("{path}: {reason}")),
        }
    })
}

pub(super) fn text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|error| {
        ApiError::malformed(format!("the body is not UTF-8 from byte {}", error.valid_up_to()))
    })
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
