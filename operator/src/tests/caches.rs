//! The caches keep little of each object: what matters is seen all the same, and nothing else leads to a write.

use ostro_exposition::Exposition;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// One that is Ready, with nothing left to do.
async fn start(api: &FakeApi) -> Operator {
    let operator = Operator::start(api, Scope::Cluster);
    put(api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    make_ready(api);
    await_within(SOON, "readiness", || told(api, "Ready").starts_with("True")).await;
    tokio::time::sleep(SOON).await;
    operator
}

fn change(api: &FakeApi, (group, resource, name): (&str, &str, &str), pointer: &str, value: Value) {
    let mut object = api.get(group, resource, name).unwrap();
    *object.pointer_mut(pointer).unwrap() = value;
    api.put(group, resource, object);
}

fn reconciles(operator: &Operator) -> u32 {
    let text = operator.metrics.text(Exposition::Text);
    let count = text.lines().find_map(|line| line.strip_prefix("ostro_operator_reconciles_total "));
    count.unwrap().parse().unwrap()
}

const DEPLOYMENT: (&str, &str, &str) = ("apps", "deployments", "m");

#[tokio::test(start_paused = true)]
async fn what_others_change_of_the_operators_fields_is_put_back() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    let config = configs(&api).remove(0);
    let cases = [
        (DEPLOYMENT, "/spec/template/spec/containers/0/image", json!("other")),
        (DEPLOYMENT, "/spec/template/spec/terminationGracePeriodSeconds", json!(1)),
        (DEPLOYMENT, "/metadata/labels/app.kubernetes.io~1instance", json!("other")),
        (("", "configmaps", &config), "/data/ostro.toml", json!("")),
        (("", "services", "m"), "/spec/ports/0/port", json!(1)),
    ];
    for ((group, resource, name), pointer, other) in cases {
        let read = || api.get(group, resource, name).unwrap().pointer(pointer).cloned().unwrap();
        let before = read();
        change(&api, (group, resource, name), pointer, other);
        await_within(SOON, pointer, || read() == before).await;
        tokio::time::sleep(SOON).await;
        let writes = api.writes();
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert_eq!(api.writes(), writes, "{pointer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_add_and_a_resync_lead_to_no_write() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    let (writes, before) = (api.writes(), reconciles(&operator));
    for pointer in ["/metadata/annotations", "/spec/template/spec/containers/0"] {
        let mut fields = api.get("apps", "deployments", "m").unwrap().pointer(pointer).unwrap().clone();
        fields["foreign"] = json!("x");
        change(&api, DEPLOYMENT, pointer, fields);
        make_ready(&api);
        tokio::time::sleep(SOON).await;
    }
    // The same found three times, the last time from what is left of it.
    tokio::time::sleep(Duration::from_secs(2000)).await;
    assert!(reconciles(&operator) >= before + 4);
    assert_eq!(api.writes(), writes);
}

/// Deleted in the foreground it goes last, and no child's end leads to another reconcile.
#[tokio::test(start_paused = true)]
async fn the_last_object_is_counted_until_it_is_gone() {
    let api = FakeApi::default();
    let operator = start(&api).await;
    let counts = |line: &str| operator.metrics.text(Exposition::Text).lines().any(|found| found == line);
    change(
        &api,
        (GROUP, "inferencedeployments", "m"),
        "/metadata",
        json!({ "name": "m", "namespace": "n", "deletionTimestamp": "2026-01-01T00:00:00Z" }),
    );
    tokio::time::sleep(SOON).await;
    assert!(counts("ostro_operator_objects 1"));
    api.remove(GROUP, "inferencedeployments", "m");
    tokio::time::sleep(SOON).await;
    assert!(counts("ostro_operator_objects 0"));
}

/// What it told of an object, by reason.
fn events(api: &FakeApi, reason: &str) -> usize {
    api.all("events.k8s.io", "events").iter().filter(|event| event["reason"] == reason).count()
}

/// A recorder that remembers good news would make a series of them.
#[tokio::test(start_paused = true)]
async fn good_news_are_not_remembered() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    for count in 1..3 {
        assert_eq!(events(&api, "AllReady"), count);
        let ready = api.get("apps", "deployments", "m").unwrap();
        change(&api, DEPLOYMENT, "/status/readyReplicas", json!(0));
        await_within(SOON, "trouble", || told(&api, "Ready").starts_with("False")).await;
        change(&api, DEPLOYMENT, "/status/readyReplicas", ready["status"]["readyReplicas"].clone());
        await_within(SOON, "readiness", || told(&api, "Ready").starts_with("True")).await;
        tokio::time::sleep(SOON).await;
    }
}
