//! What the API server refuses in other words every time.

use super::*;
use crate::inference_deployment::build::HASH_ANNOTATION;

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

#[tokio::test(start_paused = true)]
async fn what_was_written_before_a_refusal_is_counted() {
    let api = FakeApi::default();
    api.refuse("deployments");
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "a refusal", || told(&api, "Ready") == "False ApplyFailed").await;
    let kinds =
        [("", "configmaps"), ("", "services"), ("", "serviceaccounts"), ("apps", "controllerrevisions")];
    let written: usize = kinds.iter().map(|(group, resource)| api.all(group, resource).len()).sum();
    let counted = operator.metrics.writes.get();
    assert!(written >= kinds.len() && counted >= written as u64, "{counted} of {written}");
}

/// As a second operator does, which does not know of this one.
#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_always_changes_is_written_now_and_then() {
    let api = FakeApi::default();
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the status", || told(&api, "Ready") == "False RollingOut").await;
    let before = api.writes();
    for _ in 0..3000 {
        let mut object = api.get(GROUP, "inferencedeployments", "m").unwrap();
        object["status"]["observedGeneration"] = 0.into();
        api.put(GROUP, "inferencedeployments", object);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // At first 20, and each five seconds another one.
    let writes = api.writes() - before;
    assert!((60..100).contains(&writes), "{writes} writes");
    assert!(operator.metrics.delayed.get() > 100);
    let generation =
        || api.get(GROUP, "inferencedeployments", "m").unwrap()["status"]["observedGeneration"].clone();
    await_within(SOON, "the last word", || generation() == 1).await;
}

/// As by another controller. Some of them change the operator's own mark.
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
            match changes {
                0 | 1 => (),
                2 | 3 => deployment["metadata"]["annotations"] = json!({}),
                _ => deployment["metadata"]["annotations"] = json!({ HASH_ANNOTATION: changes.to_string() }),
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
    // It is believed when it lasts.
    assert_eq!(told(&api, "Ready"), "False ApplyFailed");
    let settled = Duration::from_secs(260);
    await_within(settled, "no refusal", || told(&api, "Ready") == "False RollingOut").await;
}

/// Writing it for ever changes nothing: there is no event that tells of it.
#[tokio::test(start_paused = true)]
async fn what_a_policy_of_admission_undoes_is_told_until_it_does_so_no_more() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    make_ready(&api);
    await_within(SOON, "pods", || told(&api, "Ready") == "True AllReady").await;
    let selector = || api.get("", "services", "m").unwrap()["spec"]["selector"].clone();
    let wanted = selector();
    api.mutate(Some(("services", "/spec/selector", json!({ "wrong": "x" }))));
    let mut service = api.get("", "services", "m").unwrap();
    service["spec"]["selector"] = json!({ "wrong": "x" });
    api.put("", "services", service);
    await_within(SOON, "a contest", || told(&api, "Ready") == "False ApplyFailed").await;
    assert!(message(&api).contains("Service m is changed by somebody each time"), "{}", message(&api));
    assert!(message(&api).contains("(spec.selector."), "{}", message(&api));
    // The other children are applied all the same.
    put(&api, json!({ "replicas": 3 }));
    let replicas = || api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"].clone();
    await_within(SOON, "three replicas", || replicas() == 3).await;

    let before = api.writes();
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(told(&api, "Ready"), "False ApplyFailed");
    }
    assert!((1..10).contains(&(api.writes() - before)), "{} writes", api.writes() - before);
    api.mutate(None);
    await_within(Duration::from_secs(160), "the selector", || selector() == wanted).await;
    make_ready(&api);
    await_within(SOON, "pods", || told(&api, "Ready") == "True AllReady").await;
}

/// The API server takes none with a longer note, and what to do is at the end.
#[tokio::test(start_paused = true)]
async fn an_event_has_the_beginning_and_the_end_of_a_long_message() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({ "runtime": { "é".repeat(900): 1 } }));
    await_within(SOON, "the reason", || told(&api, "Ready") == "False InvalidConfig").await;
    let event =
        || api.all("events.k8s.io", "events").into_iter().find(|event| event["reason"] == "InvalidConfig");
    await_within(SOON, "the event", || event().is_some()).await;
    let (event, message) = (event().unwrap(), message(&api));
    let note = event["note"].as_str().unwrap();
    assert!(message.len() > 1024 && note.len() <= 1024, "{} of {message}", note.len());
    assert!(note.starts_with(&message[..7]) && note.ends_with(&message[message.len() - 7..]), "{note}");
}
