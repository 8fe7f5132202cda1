//! Namespaces that go: nothing can be made in them, and what is there goes by itself.

use std::error::Error;

use kube::core::Status;

/// Whether the API server, in this error or in its cause, says so.
pub(crate) fn is_of_going_namespace(error: &(dyn Error + 'static)) -> bool {
    let of_api = |error: &(dyn Error + 'static)| match error.downcast_ref()? {
        kube::Error::Api(status) => Some(says_so(status)),
        _ => None,
    };
    of_api(error).or_else(|| of_api(error.source()?)).unwrap_or(false)
}

fn says_so(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot apply")]
    struct Failed(#[source] kube::Error);

    #[test]
    fn it_is_told_by_the_cause_of_a_refusal() {
        for (cause, expected) in [("NamespaceTerminating", true), ("FieldValueInvalid", false)] {
            let error = || {
                let causes = json!([{ "reason": cause, "message": "n", "field": "metadata.namespace" }]);
                let status = json!({ "status": "Failure", "reason": "Forbidden", "code": 403, "details": { "causes": causes } });
                kube::Error::Api(Box::new(serde_json::from_value::<Status>(status).unwrap()))
            };
            assert_eq!(is_of_going_namespace(&error()), expected);
            assert_eq!(is_of_going_namespace(&Failed(error())), expected);
        }
    }
}
