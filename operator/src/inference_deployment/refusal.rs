//! Why the API server lets no pods be made. A Deployment's status says so; of a StatefulSet only events do, so that they
//! are listed while pods are missing.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::{Client, ResourceExt};

use super::events;
use super::workload::Workload;

/// Events are not watched: until pods are there they are listed this often.
pub(crate) const AGAIN: Duration = Duration::from_secs(10);
/// As the StatefulSet's controller has it, for pods and their claims.
const REASON: &str = "FailedCreate";

/// The one condition of a Deployment that is read.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Of a Deployment.
pub(crate) fn of_status(workload: &Workload) -> Option<String> {
    let mut conditions = workload.status.as_ref()?.conditions.iter();
    let failure =
        conditions.find(|condition| condition.kind == REPLICA_FAILURE && condition.status == "True");
    Some(failure?.message.clone())
}

/// Whether a controller has yet to make pods.
pub(crate) fn lacks_pods(workload: &Workload) -> bool {
    let present = workload.status.as_ref().map_or(0, |status| status.replicas);
    present < workload.spec.replicas.unwrap_or(1)
}

/// Of a StatefulSet that lacks pods, by its uid: one of the same name may have been deleted.
pub(crate) async fn fetch(client: &Client, (namespace, uid): (&str, &str), pods: &[&Pod]) -> Option<String> {
    let events = events::fetch(client, (namespace, uid), &format!(",reason={REASON}")).await;
    latest(&events, uid, pods)
}

/// An event stays for an hour: that of a pod which is there now says nothing.
fn latest(events: &[Event], uid: &str, pods: &[&Pod]) -> Option<String> {
    let is_of = |note: &str, pod: &Pod| note.contains(&format!(" Pod {} in ", pod.name_any()));
    let is_own = |event: &Event| event.regarding.as_ref().is_some_and(|set| set.uid.as_deref() == Some(uid));
    let failures = events.iter().filter(|event| is_own(event) && event.reason.as_deref() == Some(REASON));
    let notes = failures.filter_map(|event| Some((events::time(event), event.note.as_deref()?)));
    let open = notes.filter(|(_, note)| !pods.iter().any(|pod| is_of(note, pod)));
    open.max_by_key(|(time, _)| *time).map(|(_, note)| note.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_latest_refusal_of_a_pod_that_is_missing_counts() {
        let event_of = |uid: &str, minute: u8, reason: &str, note: &str| -> Event {
            let time = format!("2026-01-01T00:{minute:02}:00Z");
            let event = json!({
                "eventTime": null, "reason": reason, "note": note, "deprecatedLastTimestamp": time,
                "regarding": { "kind": "StatefulSet", "name": "m", "uid": uid },
            });
            serde_json::from_value(event).unwrap()
        };
        let event = |minute, reason: &str, note: &str| event_of("u", minute, reason, note);
        let of = |pod: u8| format!("create Pod m-{pod} in StatefulSet m failed error: exceeded quota");
        let claim = "create Claim cache-m-1 for Pod m-1 in StatefulSet m failed error: forbidden";
        let events = [
            event(1, REASON, &of(1)),
            event(3, REASON, claim),
            event(2, REASON, &of(10)),
            event(4, REASON, &of(0)),
            event(5, "SuccessfulCreate", "create Pod m-0 in StatefulSet m successful"),
            event_of("deleted", 6, REASON, &of(2)),
        ];
        let pod =
            |name: &str| -> Pod { serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap() };
        let (zero, one, ten) = (pod("m-0"), pod("m-1"), pod("m-10"));
        let cases: [(&[&Pod], Option<String>); 4] = [
            (&[], Some(of(0))),
            (&[&zero], Some(claim.to_owned())),
            (&[&zero, &one], Some(of(10))),
            (&[&zero, &one, &ten], None),
        ];
        for (pods, expected) in cases {
            assert_eq!(latest(&events, "u", pods), expected, "{pods:?}");
        }
    }

    #[test]
    fn pods_lack_until_all_were_made() {
        let workload = |replicas: Value, status: Value| -> Workload {
            serde_json::from_value(json!({ "spec": { "replicas": replicas }, "status": status })).unwrap()
        };
        assert!(lacks_pods(&workload(json!(2), json!({ "replicas": 1 }))));
        assert!(lacks_pods(&workload(Value::Null, Value::Null)));
        assert!(!lacks_pods(&workload(json!(2), json!({ "replicas": 2, "readyReplicas": 0 }))));
        assert!(!lacks_pods(&workload(json!(0), Value::Null)));
    }
}
