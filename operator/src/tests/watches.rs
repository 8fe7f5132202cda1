//! What watches show late, or not at all.

use super::*;

const SOON: Duration = Duration::from_secs(30);
const POLICIES: (&str, &str) = ("networking.k8s.io", "networkpolicies");

async fn start(api: &FakeApi) -> Operator {
    let operator = Operator::start(api, Scope::Cluster);
    put(api, json!({ "networkPolicy": { "enabled": true } }));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    tokio::time::sleep(SOON).await;
    operator
}

#[tokio::test(start_paused = true)]
async fn what_vanished_while_nobody_watched_is_made_anew() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    api.remove_unseen("", "services", "m");
    api.expire("services");
    await_within(SOON, "the Service", || api.get("", "services", "m").is_some()).await;
}

/// Of the same name, made while no watch shows it.
#[tokio::test(start_paused = true)]
async fn what_is_somebody_elses_by_now_is_not_deleted() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let (group, plural) = POLICIES;
    let mut policy = api.get(group, plural, "m").unwrap();
    policy["metadata"]["uid"] = "other".into();
    policy["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    api.put_unseen(group, plural, policy.clone());
    put(&api, json!({}));
    tokio::time::sleep(SOON).await;
    assert_eq!(api.get(group, plural, "m"), Some(policy));
}
