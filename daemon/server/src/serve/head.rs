//! What HTTP/1 asks of a request's head and hyper does not check: one host, no unknown coding of the body. And why hyper
//! refused one.
//!
//! Of requests that came over a connection only: inside a program nobody writes a host.

use std::error::Error;

use axum::http::{HeaderMap, Version, header};

use crate::error::ApiError;

/// The metrics' reason for heads that `check` refuses, also where it is a coding that is not served.
pub(super) const MALFORMED: &str = "malformed";

/// # Errors
/// A head that RFC 9112 tells servers to refuse.
pub(super) fn check(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    // HTTP/2 says both in other ways.
    if version > Version::HTTP_11 {
        return Ok(());
    }
    check_host(version, headers)?;
    check_transfer_coding(headers)
}

/// Why hyper refused a head and ended the connection, by this error. Of HTTP/2 it tells nobody.
pub(super) fn refusal(error: &(dyn Error + Send + Sync + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<hyper::Error>()?;
    match error.is_parse_too_large() {
        true => Some("too_large"),
        false => error.is_parse().then_some(MALFORMED),
    }
}

/// Section 3.2.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(ApiError::malformed("the request has more than one host header")),
        (None, None) if version == Version::HTTP_11 => {
            Err(ApiError::malformed("the request has no host header"))
        }
        _ => Ok(()),
    }
}

/// Section 6.1. hyper looks at the last coding only; what the others made of the body it would hand on.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(ApiError::TransferCoding),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue, StatusCode};

    use super::*;

    fn verdict(version: Version, headers: &[(HeaderName, &'static str)]) -> Option<StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        check(version, &map).err().map(|error| error.status())
    }

    #[test]
    fn http_1_1_names_one_host() {
        let (host, other) = ((header::HOST, "a"), (header::HOST, "b"));
        let refused = Some(StatusCode::BAD_REQUEST);
        for (version, headers, expected) in [
            (Version::HTTP_11, vec![], refused),
            (Version::HTTP_11, vec![host.clone()], None),
            (Version::HTTP_11, vec![(header::HOST, "")], None),
            (Version::HTTP_11, vec![host.clone(), other.clone()], refused),
            (Version::HTTP_10, vec![], None),
            (Version::HTTP_10, vec![host, other], refused),
            (Version::HTTP_2, vec![], None),
        ] {
            assert_eq!(verdict(version, &headers), expected, "{version:?} {headers:?}");
        }
    }

    #[test]
    fn chunks_are_the_only_coding() {
        let refused = Some(StatusCode::NOT_IMPLEMENTED);
        for (codings, expected) in [
            (vec!["chunked"], None),
            (vec![" Chunked "], None),
            (vec!["gzip, chunked"], refused),
            (vec!["gzip", "chunked"], refused),
            (vec!["chunked, chunked"], refused),
        ] {
            let codings = codings.into_iter().map(|coding| (header::TRANSFER_ENCODING, coding));
            let headers: Vec<_> = [(header::HOST, "a")].into_iter().chain(codings).collect();
            assert_eq!(verdict(Version::HTTP_11, &headers), expected, "{headers:?}");
        }
    }
}
