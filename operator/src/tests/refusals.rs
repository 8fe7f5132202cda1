//! What the API server refuses in other words every time.

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn message(api: &FakeApi) -> String {
    condition(api, "Ready").map(|ready| ready["message"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn status_writes(api: &FakeApi) -> usize {
    api.writes() - api.refusals()
}

#[tokio::test(start_paused = true)]
async fn other_words_are_written_when_it_is_tried_again_and_not_for_ever() {
    let api = FakeApi::default();
    api.refuse("services");
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "a refusal", || told(&api, "Ready") == "False ApplyFailed").await;
    let first = message(&api);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (refusals, writes) = (api.refusals(), status_writes(&api));
    // Waits of 1, 2, 4 … 120 s, each with a look at what was written.
    assert!((8..40).contains(&refusals), "{refusals} tries");
    assert!(writes < 40, "{writes} writes");
    assert_ne!(message(&api), first);

    // Children that change all the time keep no words from being told.
    for _ in 0..300 {
        let mut config = api.all("", "configmaps").remove(0);
        config["metadata"]["labels"]["touched"] = api.writes().to_string().into();
        api.put("", "configmaps", config);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let before: usize = refusals;
    let told: usize = message(&api).rsplit(' ').next().unwrap().parse().unwrap();
    assert!(told > before, "{told} is of before {before}");
    let of_others = status_writes(&api) - writes;
    assert!(of_others < 650, "{of_others} writes");
}

/// As by a policy of admission that changes what it changed before.
#[tokio::test(start_paused = true)]
async fn a_child_that_somebody_always_changes_is_told_and_left() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    let (mut changes, before) = (0, api.writes());
    for _ in 0..300 {
        let mut deployment = api.get("apps", "deployments", "m").unwrap();
        if deployment["spec"]["replicas"] != 9 {
            deployment["spec"]["replicas"] = 9.into();
            if changes > 2 {
                deployment["metadata"]["annotations"] = json!({});
            }
            api.put("apps", "deployments", deployment);
            changes += 1;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((5..40).contains(&changes), "{changes} times in five minutes");
    assert!(api.writes() - before < 80, "{} writes", api.writes() - before);
    assert_eq!(told(&api, "Ready"), "False ApplyFailed");
    assert!(message(&api).contains("Deployment m is changed by somebody each time"), "{}", message(&api));
    await_within(Duration::from_secs(200), "what is wanted", || {
        api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"] == 1
    })
    .await;
    await_within(SOON, "no refusal", || told(&api, "Ready") == "False RollingOut").await;
}
