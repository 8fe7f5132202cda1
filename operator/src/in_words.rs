//! Errors as people read them: with their causes, each once.

use std::error::Error;

/// An error and its causes, in one line.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // What the API server says; kube adds how its answer looks in Rust.
        if let Some(kube::Error::Api(status)) = error.downcast_ref() {
            message.push_str(&format!(": {}", in_one_line(&status.message)));
            break;
        }
        let cause = error.to_string();
        // Some errors have their causes in their own words.
        if !message.ends_with(&cause) && !message.contains(&format!("{cause})")) {
            message.push_str(&format!(": {cause}"));
        }
        source = error.source();
    }
    message
}

/// Webhooks write several lines. Of what cannot change Kubernetes shows both values as they look in Go, which are left out.
fn in_one_line(message: &str) -> String {
    let is_go = |line: &&str| line.starts_with("core.") && line.ends_with('{');
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take_while(|line| !is_go(line)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
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
    fn the_api_server_is_told_in_its_words_without_those_of_go() {
        let message = "spec: Forbidden: spec is immutable\n  core.PersistentVolumeClaimSpec{".to_owned();
        let status = kube::core::Status { message, code: 422, ..Default::default() };
        let error =
            failure("cannot apply", Box::<dyn Error + Send + Sync>::from(kube::Error::Api(status.boxed())));
        assert_eq!(in_words(&error), "cannot apply: spec: Forbidden: spec is immutable");
    }
}
