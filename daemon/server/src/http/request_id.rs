//! `x-request-id`: the client's own when it is short and plain, else a new one.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use uuid::Uuid;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const BYTES_MAX: usize = 128;

/// The client's id if it can go into a log line and a header unchanged.
pub(super) fn of(headers: &HeaderMap) -> Arc<str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    match headers.get(&HEADER).and_then(|id| id.to_str().ok()) {
        Some(id) if !id.is_empty() && id.len() <= BYTES_MAX && id.bytes().all(plain) => id.into(),
        _ => format!("req_{}", Uuid::new_v4().simple()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_taken() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, value.parse().unwrap());
            of(&headers)
        };
        assert_eq!(id("abc-123").as_ref(), "abc-123");
        for bad in ["", "a b", "a\"b", "{}", &"x".repeat(129)] {
            let given = id(bad);
            assert!(given.starts_with("req_") && given.len() == 36, "{bad:?}: {given}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
