//! The error envelope.

use serde::Serialize;
use utoipa::ToSchema;

/// Every error answer, and the error event of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    pub error: ErrorBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong, for a person.
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The request field to blame.
    pub param: Option<String>,
    /// What is wrong, for a program.
    pub code: Option<&'static str>,
}
