//! Images that a kubelet cannot get: what may be wrong with them, and with the Secrets that name a puller.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;

use super::Cause;
use crate::inference_deployment::events;

/// Of what comes again a kubelet makes few events, and one stays for an hour, also when the Secret is there.
const FRESH: SignedDuration = SignedDuration::from_mins(30);
/// How containerd tells that nobody answered.
const UNANSWERED: [&str; 3] = ["dial tcp", "handshake timeout", "awaiting headers"];

/// What to look at, of an image that this field of the spec names.
pub(super) fn hint(message: &str, field: &str) -> String {
    match UNANSWERED.iter().any(|words| message.contains(words)) {
        true => format!("is {field} right, is the registry up, and may the nodes reach it?"),
        false => format!("is {field} right, and do imagePullSecrets allow it?"),
    }
}

/// With the Secrets of `imagePullSecrets` that the kubelet did not find, as the pod's events name them.
pub(crate) fn with_lacking_secret(cause: Cause, events: &[Event], now: Timestamp) -> Cause {
    let told = events.iter().filter_map(|event| {
        let is_of_secret = event.reason.as_deref() == Some("FailedToRetrieveImagePullSecret");
        Some((events::time(event).filter(|_| is_of_secret)?, event))
    });
    let latest = told.max_by_key(|(time, _)| *time).filter(|(time, _)| now.duration_since(*time) < FRESH);
    let note = latest.and_then(|(_, event)| event.note.as_deref());
    // Its rest says that the pull may fail, which it has.
    let Some(note) = note.and_then(|note| note.split(';').next()) else { return cause };
    Cause { message: format!("{}; the kubelet: {}", cause.message, note.trim()), ..cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostro_crds::Reason;
    use serde_json::json;

    fn event(reason: &str, minute: u8) -> Event {
        let note = "Unable to retrieve some image pull secrets (a, b); attempting to pull the image may not succeed.";
        let time = format!("2026-01-01T00:{minute:02}:00Z");
        let fields =
            json!({ "reason": reason, "note": note, "deprecatedLastTimestamp": time, "metadata": {} });
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn nobody_who_answers_is_another_matter_than_who_may_pull() {
        let refused = "failed to authorize: failed to fetch anonymous token: 401 Unauthorized";
        assert_eq!(hint(refused, "spec.image"), "is spec.image right, and do imagePullSecrets allow it?");
        for silent in [
            "failed to do request: Head \"https://r/v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
            "dial tcp: lookup r on 10.0.0.10:53: no such host",
            "net/http: TLS handshake timeout",
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ] {
            let hint = hint(silent, "spec.image");
            assert!(hint.ends_with("is the registry up, and may the nodes reach it?"), "{silent}");
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_named_while_that_is_news() {
        let now: Timestamp = "2026-01-01T00:40:00Z".parse().unwrap();
        let told = |events: &[Event]| {
            let cause = Cause { reason: Reason::ImagePullFailed, message: "cannot pull x".to_owned() };
            with_lacking_secret(cause, events, now).message
        };
        let lacking = "FailedToRetrieveImagePullSecret";
        let named = "cannot pull x; the kubelet: Unable to retrieve some image pull secrets (a, b)";
        assert_eq!(told(&[event("BackOff", 39), event(lacking, 11)]), named);
        assert_eq!(told(&[event(lacking, 10), event("BackOff", 39)]), "cannot pull x");
    }
}
