//! A template that waits: its condition, its one event, and the count of such objects.

use ostro_exposition::Exposition;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn spec(max_seqs: u32) -> Value {
    json!({ "rollout": { "hold": "All" }, "runtime": { "maxSeqs": max_seqs } })
}

async fn with_ready_object() -> (FakeApi, Operator) {
    let api = FakeApi::default();
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, spec(4));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    make_ready(&api);
    await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;
    (api, operator)
}

fn counted(operator: &Operator) -> String {
    let text = operator.metrics.text(Exposition::Text);
    let name = "ostro_operator_templates_pending{reason=\"SpecHeld\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_once_and_counted_until_it_is_taken_back() {
    let (api, operator) = with_ready_object().await;
    assert_eq!(counted(&operator), "0");
    let pending = || told(&api, "TemplateUpdatePending");
    put(&api, spec(8));
    await_within(SOON, "the condition", || pending() == "True SpecHeld").await;
    // Nothing can be rendered, so nothing is released.
    put(&api, spec(0));
    await_within(SOON, "the reason", || told(&api, "Ready") == "False InvalidConfig").await;
    tokio::time::sleep(SOON).await;
    assert_eq!((pending().as_str(), counted(&operator).as_str()), ("True SpecHeld", "1"));
    put(&api, spec(4));
    await_within(SOON, "nothing to wait", || pending().is_empty()).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(counted(&operator), "0");
    let events = api.all("events.k8s.io", "events");
    let of_pending: Vec<&Value> = events.iter().filter(|event| event["reason"] == "SpecHeld").collect();
    let [event] = of_pending.as_slice() else { panic!("{of_pending:?}") };
    assert_eq!((&event["type"], &event["series"]), (&json!("Normal"), &Value::Null));
    assert!(event["note"].as_str().unwrap().contains("spec.rollout.hold is All"), "{event}");
}

/// By name, group, resource and so on.
fn lists(operator: &Operator) -> Vec<String> {
    let text = operator.metrics.text(Exposition::Text);
    let lists = text
        .lines()
        .filter(|line| line.starts_with("ostro_operator_api_calls_total{") && line.contains("verb=\"list\""));
    lists.filter(|line| line.contains("controllerrevisions")).map(str::to_owned).collect()
}

/// The cache has what is rendered otherwise, and what is rendered no longer.
#[tokio::test(start_paused = true)]
async fn what_pods_run_is_not_fetched() {
    let (api, operator) = with_ready_object().await;
    let before = lists(&operator);
    put(&api, spec(8));
    await_within(SOON, "the condition", || told(&api, "TemplateUpdatePending") == "True SpecHeld").await;
    let mut released = spec(8);
    released["rollout"]["hold"] = "Never".into();
    put(&api, released);
    await_within(SOON, "the release", || told(&api, "TemplateUpdatePending").is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!(lists(&operator), before);
}
