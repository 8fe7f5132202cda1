//! Errors as people read them: with their causes, each once.

use std::error::Error;

use kube::core::Status;

/// An error and its causes, in one line.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut message = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.to_string();
        // What the API server says; kube adds how its answer looks in Rust, and its watches have that in their own words.
        if let Some(kube::Error::Api(status)) = error.downcast_ref() {
            let before = message.strip_suffix(&cause).unwrap_or(&message);
            return joined(before.trim_end_matches(": "), &of_api(status));
        }
        // Some errors have their causes in their own words.
        if !message.ends_with(&cause) && !message.contains(&format!("{cause})")) {
            message = joined(&message, &cause);
        }
        next = error.source();
    }
    message
}

fn joined(before: &str, cause: &str) -> String {
    if before.is_empty() { cause.to_owned() } else { format!("{before}: {cause}") }
}

/// Of a refusal, in one line. Of several causes the API server tells in any order: here in one, and the first of them.
pub(crate) fn of_api(status: &Status) -> String {
    const CAUSES_MAX: usize = 5;
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let told = in_one_line(&status.message);
    if told.is_empty() {
        return format!("the API server answers {}", status.code);
    }
    let (Some((start, _)), 2..) = (told.split_once("is invalid: "), causes.len()) else { return told };
    let mut causes: Vec<String> =
        causes.iter().map(|cause| in_one_line(&format!("{}: {}", cause.field, cause.message))).collect();
    causes.sort();
    let more = causes.len().saturating_sub(CAUSES_MAX);
    causes.truncate(CAUSES_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{start}is invalid: {}{more}", causes.join(", "))
}

/// Webhooks write several lines. Of what cannot change Kubernetes shows what differs, as it looks in Go or, in later
/// versions, in JSON: that is left out.
fn in_one_line(message: &str) -> String {
    let is_difference =
        |line: &&str| (line.starts_with("core.") && line.ends_with('{')) || line.starts_with("@@ -");
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take_while(|line| !is_difference(line)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher;
    use serde_json::json;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Failure {
        words: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    fn failure(words: &'static str, source: impl Into<Option<Box<dyn Error + Send + Sync>>>) -> Failure {
        Failure { words, source: source.into() }
    }

    #[test]
    fn each_cause_is_told_once() {
        let of = |words: &'static str| {
            failure(words, Box::<dyn Error + Send + Sync>::from(failure("no file", None)))
        };
        for (words, expected) in [
            ("cannot read", "cannot read: no file"),
            ("cannot read: no file", "cannot read: no file"),
            ("two ways: (read: no file), (ask)", "two ways: (read: no file), (ask)"),
        ] {
            assert_eq!(in_words(&of(words)), expected);
        }
    }

    #[test]
    fn the_api_server_is_told_in_its_words_wherever_it_is_in_a_chain() {
        let refused = |message: &str| {
            let status = Status { message: message.to_owned(), code: 403, ..Default::default() };
            kube::Error::Api(status.boxed())
        };
        let of_watch = watcher::Error::InitialListFailed(refused("x is forbidden"));
        assert_eq!(in_words(&of_watch), "failed to perform initial object list: x is forbidden");
        assert_eq!(in_words(&refused("x is forbidden")), "x is forbidden");
        assert_eq!(in_words(&refused("")), "the API server answers 403");
        let of_plugin = anyhow::Error::new(of_watch).context("cannot list pods");
        let told = "cannot list pods: failed to perform initial object list: x is forbidden";
        assert_eq!(in_words(of_plugin.as_ref()), told);
    }

    #[test]
    fn the_api_server_is_told_in_its_words_without_what_differs() {
        let json =
            "@@ -10,7 +10,7 @@\n \"Requests\": {\n-   \"storage\": \"1Gi\"\n+   \"storage\": \"2Gi\"\n";
        for difference in ["  core.PersistentVolumeClaimSpec{\n", json] {
            let message = format!("spec: Forbidden: spec is immutable\n{difference}");
            let status = Status { message, code: 422, ..Default::default() };
            let cause = Box::<dyn Error + Send + Sync>::from(kube::Error::Api(status.boxed()));
            let told = in_words(&failure("cannot apply", cause));
            assert_eq!(told, "cannot apply: spec: Forbidden: spec is immutable");
        }
    }

    #[test]
    fn all_lines_of_a_webhook_are_told() {
        let webhook = "admission webhook \"v\" denied the request: \n\nresource m was blocked \n\nlabels:\n  rule: no\n";
        let told = "admission webhook \"v\" denied the request: resource m was blocked labels: rule: no";
        assert_eq!(in_one_line(webhook), told);
    }

    #[test]
    fn several_causes_are_told_in_one_order() {
        let of = |fields: &[&str]| {
            let causes = fields
                .iter()
                .map(|field| json!({ "field": field, "message": "Invalid value", "reason": "r" }));
            let all = fields.iter().map(|field| format!("{field}: Invalid value")).collect::<Vec<_>>();
            let status = json!({
                "message": format!("Service \"m\" is invalid: [{}]", all.join(", ")), "code": 422,
                "details": { "causes": causes.collect::<Vec<_>>() },
            });
            of_api(&serde_json::from_value(status).unwrap())
        };
        let told = "Service \"m\" is invalid: a: Invalid value, b: Invalid value";
        assert_eq!((of(&["a", "b"]).as_str(), of(&["b", "a"]).as_str()), (told, told));
        assert_eq!(of(&["a"]), "Service \"m\" is invalid: [a: Invalid value]");
        assert!(of(&["a", "b", "c", "d", "e", "f", "g"]).ends_with("e: Invalid value, and 2 more"));
    }
}
