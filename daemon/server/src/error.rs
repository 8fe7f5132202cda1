//! What can go wrong with a request, in the terms of the caller.
//!
//! Every step returns this one type; `http::error` alone chooses the status code and the wire form.

use std::time::Duration;

/// Longest error message, and longest name of a field in one, that is sent: input is never echoed at length.
const MESSAGE_BYTES_MAX: usize = 600;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// A field has a value that can never be served.
    #[error("{message}")]
    Invalid { param: Option<String>, message: String },
    /// A known field asks for something this build does not do.
    #[error("{message}")]
    Unsupported { param: String, message: String },
    #[error("{message}")]
    ContextLength { param: &'static str, message: String },
    #[error("the model {name:?} does not exist; available: {available}")]
    UnknownModel { name: String, available: String },
    #[error("no route for {method} {path}{hint}")]
    UnknownRoute { method: String, path: String, hint: String },
    #[error("{method} is not allowed on {path}")]
    MethodNotAllowed { method: String, path: String },
    #[error("{0}")]
    MediaType(String),
    #[error("the only transfer-encoding that is supported is chunked, once")]
    TransferCoding,
    #[error("the request body is larger than the limit of {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    #[error("the bodies of other requests take the memory that there is for them; retry in 1 s")]
    BodyMemory,
    #[error("the server has as many requests as it can queue; retry in {} s", retry_after.as_secs())]
    Busy { retry_after: Duration },
    #[error("the model {model:?} is still loading ({progress}); retry in {} s", retry_after.as_secs())]
    Loading { model: String, progress: String, retry_after: Duration },
    #[error("the model {model:?} did not load: {reason}")]
    LoadFailed { model: String, reason: String },
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("{0}")]
    Engine(String),
}

impl ApiError {
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::Invalid { param: Some(bounded(param.into())), message: bounded(message.into()) }
    }

    /// A body that is not what the route takes, with no single field to blame.
    pub fn malformed(message: impl Into<String>) -> ApiError {
        ApiError::Invalid { param: None, message: bounded(message.into()) }
    }

    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::Unsupported { param: bounded(param.into()), message: bounded(message.into()) }
    }

    pub fn unknown_model(name: &str, available: &str) -> ApiError {
        ApiError::UnknownModel { name: bounded(name.to_owned()), available: bounded(available.to_owned()) }
    }
}

/// Cuts a message at a character boundary.
pub(crate) fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
        message.push_str(" …");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = bounded("é".repeat(1000));
        assert!(cut.len() < MESSAGE_BYTES_MAX + 8 && cut.ends_with("é …"), "{}", cut.len());
        assert_eq!(bounded("short".into()), "short");
    }
}
