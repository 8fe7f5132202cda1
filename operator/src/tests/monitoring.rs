//! Monitors in clusters that have their API, have it later, or lose it.

use ostro_exposition::Exposition;

use super::fake_api::MONITORING;
use super::*;

const SOON: Duration = Duration::from_secs(35);

async fn await_told(api: &FakeApi, kind: &str, expected: &str) {
    await_within(SOON, &format!("{kind} {expected}"), || told(api, kind) == expected).await;
}

fn sample(operator: &Operator, name: &str) -> Option<f64> {
    let text = operator.metrics.text(Exposition::Text);
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn presence(operator: &Operator) -> Option<f64> {
    let labels = r#"{group="monitoring.coreos.com",version="v1",resource="servicemonitors"}"#;
    sample(operator, &format!("ostro_operator_optional_api_present{labels}"))
}

async fn start_ready(api: &FakeApi) -> Operator {
    let operator = Operator::start(api, Scope::Cluster);
    put(api, json!({ "monitoring": { "interval": "15s" } }));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    make_ready(api);
    await_told(api, "Ready", "True AllReady").await;
    operator
}

#[tokio::test(start_paused = true)]
async fn a_monitor_comes_with_its_api_and_changes_kind() {
    let api = FakeApi::default();
    let operator = start_ready(&api).await;
    assert_eq!(told(&api, "Monitored"), "False APIMissing");
    let message = condition(&api, "Monitored").unwrap()["message"].to_string();
    assert!(message.contains("servicemonitors.monitoring.coreos.com"), "{message}");
    assert_eq!((told(&api, "Stalled"), told(&api, "Reconciling")), (String::new(), String::new()));
    assert_eq!(presence(&operator), Some(0.0));

    api.set_monitoring(true);
    await_told(&api, "Monitored", "True MonitorApplied").await;
    let monitor = api.get(MONITORING, "servicemonitors", "m").unwrap();
    assert_eq!(
        monitor["spec"]["endpoints"],
        json!([{ "port": "http", "path": "/metrics", "interval": "15s" }])
    );
    assert_eq!(told(&api, "Ready"), "True AllReady");
    assert_eq!(presence(&operator), Some(1.0));

    put(&api, json!({ "monitoring": { "kind": "PodMonitor" } }));
    await_within(SOON, "the other kind", || {
        api.get(MONITORING, "podmonitors", "m").is_some()
            && api.get(MONITORING, "servicemonitors", "m").is_none()
    })
    .await;
    put(&api, json!({}));
    await_within(SOON, "no monitor", || api.get(MONITORING, "podmonitors", "m").is_none()).await;
    await_told(&api, "Monitored", "").await;
}

#[tokio::test(start_paused = true)]
async fn an_api_that_vanishes_stops_nothing() {
    let api = FakeApi::default();
    api.set_monitoring(true);
    let operator = start_ready(&api).await;
    await_told(&api, "Monitored", "True MonitorApplied").await;

    api.set_monitoring(false);
    await_told(&api, "Monitored", "False APIMissing").await;
    assert_eq!(presence(&operator), Some(0.0));
    put(&api, json!({ "monitoring": {}, "replicas": 3 }));
    await_within(SOON, "three replicas", || {
        api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"] == 3
    })
    .await;
    make_ready(&api);
    await_within(SOON, "three of three", || {
        let object = api.get(GROUP, "inferencedeployments", "m").unwrap();
        object["status"]["replicasReady"] == "3/3"
    })
    .await;
    assert_eq!(told(&api, "Ready"), "True AllReady");

    api.set_monitoring(true);
    await_told(&api, "Monitored", "True MonitorApplied").await;
    assert!(api.get(MONITORING, "servicemonitors", "m").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_always_fails_holds_nothing_back() {
    let api = FakeApi::default();
    api.pretend_monitoring();
    let _operator = start_ready(&api).await;
    assert_eq!(told(&api, "Monitored"), "False APIUnavailable");
    let message = condition(&api, "Monitored").unwrap()["message"].to_string();
    assert!(message.contains("object list: ") && !message.contains("ApiError"), "{message}");
    for replicas in 2..40 {
        tokio::time::sleep(Duration::from_millis(3700)).await;
        put(&api, json!({ "monitoring": {}, "replicas": replicas }));
        let is_applied = || api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"] == replicas;
        await_within(Duration::from_millis(500), "a change", is_applied).await;
    }
    api.set_monitoring(true);
    await_within(Duration::from_secs(120), "the monitor", || {
        told(&api, "Monitored") == "True MonitorApplied"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_is_written_again() {
    for has_monitoring in [false, true] {
        let api = FakeApi::default();
        api.set_monitoring(has_monitoring);
        let operator = start_ready(&api).await;
        let expected = if has_monitoring { "True MonitorApplied" } else { "False APIMissing" };
        await_told(&api, "Monitored", expected).await;
        drop(operator);
        tokio::time::sleep(SOON).await;
        let before = api.writes();
        let operator = Operator::start(&api, Scope::Cluster);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(sample(&operator, "ostro_operator_reconciles_total") > Some(3.0));
        assert_eq!(api.writes(), before, "{}", operator.metrics.text(Exposition::Text));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_what_they_do() {
    let api = FakeApi::default();
    let operator = start_ready(&api).await;
    let calls = |labels: &str| sample(&operator, &format!("ostro_operator_api_calls_total{{{labels}}}"));
    let deployments = r#"group="apps",resource="deployments""#;
    assert_eq!(calls(&format!(r#"verb="list",{deployments},code="200""#)), Some(1.0));
    assert_eq!(calls(&format!(r#"verb="watch",{deployments},code="200""#)), Some(1.0));
    assert_eq!(calls(&format!(r#"verb="patch",{deployments},code="200""#)), Some(1.0));
    assert_eq!(calls(&format!(r#"verb="get",{deployments},code="404""#)), Some(1.0));
    assert!(calls(r#"verb="get",group="",resource="",code="404""#) >= Some(1.0), "discovery");
    let status =
        r#"verb="patch",group="inference.ostro.dev",resource="inferencedeployments/status",code="200""#;
    assert!(calls(status) >= Some(2.0));
}

/// Nothing that serves waits for it.
#[tokio::test(start_paused = true)]
async fn a_monitor_of_somebody_else_is_told_and_left() {
    let api = FakeApi::default();
    api.set_monitoring(true);
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "spec": {},
        "metadata": { "name": "m", "namespace": "n" },
    });
    api.put(MONITORING, "servicemonitors", monitor);
    let _operator = start_ready(&api).await;
    await_told(&api, "Monitored", "False ApplyFailed").await;
    let message = condition(&api, "Monitored").unwrap()["message"].to_string();
    assert!(message.contains("ServiceMonitor m exists and is not this object's"), "{message}");
    api.remove(MONITORING, "servicemonitors", "m");
    await_within(Duration::from_secs(300), "the monitor", || {
        told(&api, "Monitored") == "True MonitorApplied"
    })
    .await;
    assert_eq!(told(&api, "Ready"), "True AllReady");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_cannot_be_deleted_is_told() {
    let api = FakeApi::default();
    api.set_monitoring(true);
    let _operator = start_ready(&api).await;
    await_told(&api, "Monitored", "True MonitorApplied").await;
    api.refuse("servicemonitors");
    put(&api, json!({}));
    await_told(&api, "Monitored", "False ApplyFailed").await;
    let message = condition(&api, "Monitored").unwrap()["message"].to_string();
    assert!(message.contains("cannot delete ServiceMonitor m"), "{message}");
    make_ready(&api);
    await_told(&api, "Ready", "True AllReady").await;
}
