//! Errors of requests about InferenceDeployments, in words.

use anyhow::{Chain, anyhow};
use kube::client::AuthError;
use kube::core::Status;

use crate::in_words::of_api;

/// Kube's reason of an answer that is no `Status`; its text is the message then.
const NO_STATUS: &str = "Failed to parse error data";
/// An API server's answer where no API has the path.
const NO_PATH: &str = "404 page not found";
/// Of an answer that nobody expected.
const SHOWN_CHARS_MAX: usize = 200;

/// Of a client that cannot be made.
pub(super) fn explained_config(error: kube::Error) -> anyhow::Error {
    plugin_error(&error).unwrap_or_else(|| anyhow!(error))
}

/// Of a request.
pub(super) fn explained(error: kube::Error) -> anyhow::Error {
    if let Some(error) = plugin_error(&error) {
        return error;
    }
    match error {
        kube::Error::Api(status) => refused(&status),
        // No JSON from the first byte on: a web server's page. What is nested too deeply breaks off later.
        kube::Error::SerdeError(error) if !error.is_data() && (error.line(), error.column()) <= (1, 1) => {
            no_api_server(&error.to_string())
        }
        // Of another version's objects, or by an API server that does not forward.
        error @ (kube::Error::SerdeError(_) | kube::Error::UpgradeConnection(_)) => {
            anyhow!(error).context("the API server's answer cannot be used")
        }
        error => anyhow!(error).context("cannot reach the API server"),
    }
}

/// Whether a `Status` tells of this object.
pub(super) fn is_about(status: &Status, name: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.name == name)
}

fn refused(status: &Status) -> anyhow::Error {
    let is_status = status.reason != NO_STATUS && status.status.is_some();
    match status.code {
        404 if status.message == NO_PATH => not_installed(),
        // A missing object or namespace is named; an API that is not there is not.
        404 if is_status && (status.details.is_none() || is_about(status, "")) => not_installed(),
        // Where it is busy, an API server says so in plain text.
        429 | 500.. => anyhow!("the API server answers {}: {}", status.code, status.message),
        _ if is_status => anyhow!("{}", of_api(status)),
        code => no_api_server(&format!("{code} {}", status.message)),
    }
}

fn not_installed() -> anyhow::Error {
    anyhow!("the CRD is not installed: the cluster knows no InferenceDeployments (chart ostro-crds)")
}

fn no_api_server(answer: &str) -> anyhow::Error {
    let answer: String = answer.lines().next().unwrap_or_default().chars().take(SHOWN_CHARS_MAX).collect();
    anyhow!("what answers is no API server; is the kubeconfig's server right? it says: {answer}")
}

/// Without the plugin's output, and its arguments and environment: all of them may hold credentials.
fn plugin_error(error: &kube::Error) -> Option<anyhow::Error> {
    match Chain::new(error).find_map(|error| error.downcast_ref::<AuthError>())? {
        AuthError::AuthExecRun { out, .. } => Some(anyhow!("the credential plugin failed: {}", out.status)),
        AuthError::AuthExecParse(_) => Some(anyhow!("the credential plugin's output is no ExecCredential")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fake_api::{FakeApi, cluster, missing, no_api};

    async fn check(answer: (u16, Value), expected: &str) {
        let api = FakeApi::answering(move |_| answer.clone());
        let error = cluster(api).fetch("m").await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[tokio::test]
    async fn a_missing_api_is_told_from_a_missing_object() {
        check(no_api(), "the CRD is not installed").await;
        let nothing = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "details": {},
            "message": "the server could not find the requested resource" });
        check((404, nothing), "the CRD is not installed").await;
        check(missing("namespaces", "shop"), "namespaces \"shop\" not found").await;
    }

    #[tokio::test]
    async fn what_is_no_api_server_is_told() {
        let expected = "what answers is no API server; is the kubeconfig's server right? it says: ";
        check((404, "<!DOCTYPE HTML>\n<p>File not found".into()), &format!("{expected}404 <!DOCTYPE HTML>"))
            .await;
        check((404, json!({ "detail": "Not Found" })), expected).await;
        check(
            (404, json!({ "status": 404, "error": "Not Found" })),
            &format!("{expected}404 {{\"status\":404"),
        )
        .await;
        check((200, "<!DOCTYPE HTML>".into()), expected).await;
        check((200, "".into()), expected).await;
        check((200, json!({})), "m cannot be read: ").await;
        check((429, "Too many requests".into()), "the API server answers 429: Too many requests").await;
    }
}
