//! `GET /docs`: a page that shows `/openapi.json`. It loads nothing from elsewhere.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// Only its own script and style run, and it talks to nobody but this server.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

pub(super) async fn docs() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("docs.html")))
}
