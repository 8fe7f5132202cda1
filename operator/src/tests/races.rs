//! Children that others delete or make while the operator, whose watches lag, writes them.

use super::ownership::{are_of, spec, start};
use super::revisions::uid;
use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Its uid tells, of which a watch that lags knows nothing.
#[tokio::test(start_paused = true)]
async fn a_child_that_somebody_has_made_anew_is_left_to_them() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let mut others = api.get("", "services", "m").unwrap();
    others["metadata"] =
        json!({ "name": "m", "namespace": "n", "uid": "00000000-0000-4000-8000-another00000" });
    api.put_unseen("", "services", others.clone());
    let mut changed = spec();
    changed["service"] = json!({ "port": 81 });
    put(&api, changed);
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("Service m exists and is not this object's"), "{message}");
    assert_eq!(api.get("", "services", "m").unwrap(), others);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_has_gone_unseen_is_made_anew() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    for (group, resource) in [("", "services"), ("apps", "deployments")] {
        api.remove_unseen(group, resource, "m");
    }
    put(&api, json!({ "replicas": 2, "service": { "port": 81 }, "cache": spec()["cache"] }));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    assert_eq!(api.get("", "services", "m").unwrap()["spec"]["ports"][0]["port"], 81);
    assert!(are_of(&api, &uid(&api)));
}

/// Its fields are not forced upon what was not there a moment ago.
#[tokio::test(start_paused = true)]
async fn a_child_that_somebody_makes_at_the_same_time_is_left_to_them() {
    let api = FakeApi::default();
    let others =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "m", "namespace": "n" } });
    api.put_once_missed("", "services", others.clone());
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
    tokio::time::sleep(SOON).await;
    let message = condition(&api, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("Service m exists and is not this object's"), "{message}");
    assert_eq!(api.get("", "services", "m").unwrap(), others);
}
