//! Configurations, the account and the ports of before, which stay for pods of before.

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// An object whose Deployment is ready, and its configuration.
async fn start(api: &FakeApi) -> (Operator, String) {
    let operator = Operator::start(api, Scope::Cluster);
    put(api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    make_ready(api);
    await_within(SOON, "readiness", || told(api, "Ready") == "True AllReady").await;
    (operator, configs(api).remove(0))
}

/// Another configuration, and the names of all.
async fn configure(api: &FakeApi, sequences: u32) -> Vec<String> {
    let before = configs(api);
    put(api, json!({ "runtime": { "maxSeqs": sequences } }));
    let is_new = || configs(api).iter().any(|config| !before.contains(config));
    await_within(SOON, "another configuration", is_new).await;
    tokio::time::sleep(SOON).await;
    configs(api)
}

fn put_pod(api: &FakeApi, config: &str) {
    let volumes = json!([{ "name": "config", "configMap": { "name": config } }]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata(api, "old"),
        "spec": { "containers": [{ "name": "ostro" }], "volumes": volumes },
    });
    api.put("", "pods", pod);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_before_keeps_its_configuration() {
    let api = FakeApi::default();
    let (_operator, first) = start(&api).await;
    put_pod(&api, &first);
    assert_eq!(configure(&api, 8).await.len(), 2);
    make_ready(&api);
    tokio::time::sleep(SOON).await;
    assert!(configs(&api).contains(&first), "the pod is still there");
    api.remove("", "pods", "old");
    await_within(SOON, "the configuration to go", || !configs(&api).contains(&first)).await;
    assert_eq!(configs(&api).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_end_keeps_some_of_before() {
    let api = FakeApi::default();
    let (_operator, first) = start(&api).await;
    let both = configure(&api, 2).await;
    assert!(both.len() == 2 && both.contains(&first), "{both:?}");
    for sequences in 3..20 {
        assert!(configure(&api, sequences).await.len() <= 9);
    }
    make_ready(&api);
    await_within(SOON, "those of before to go", || configs(&api).len() == 1).await;
}

/// Without which the controller makes no pod of before in the place of one that was evicted.
#[tokio::test(start_paused = true)]
async fn the_account_of_before_stays_until_all_pods_have_another() {
    let api = FakeApi::default();
    let _operator = start(&api).await;
    put(&api, json!({ "serviceAccountName": "other" }));
    let named = || {
        let deployment = api.get("apps", "deployments", "m").unwrap();
        deployment["spec"]["template"]["spec"]["serviceAccountName"].clone()
    };
    await_within(SOON, "another account", || named() == "other").await;
    tokio::time::sleep(SOON).await;
    assert!(api.get("", "serviceaccounts", "m").is_some());
    make_ready(&api);
    await_within(SOON, "that of before to go", || api.get("", "serviceaccounts", "m").is_none()).await;
}

/// Where it listens, though pods of the spec listen elsewhere.
#[tokio::test(start_paused = true)]
async fn a_pod_of_before_is_let_in_until_it_has_ended() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    let listen_at = |port: u16| {
        put(&api, json!({ "networkPolicy": { "enabled": true }, "server": { "port": port } }));
    };
    let put_pod = |phase: &str| {
        let ports = json!([{ "name": "http", "containerPort": 81 }]);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata(&api, "old"),
            "spec": { "containers": [{ "name": "ostro", "ports": ports }] }, "status": { "phase": phase },
        });
        api.put("", "pods", pod);
    };
    let is_let_in = |ports: &[u16]| {
        let policy = api.get("networking.k8s.io", "networkpolicies", "m").unwrap_or_default();
        let wanted: Value = ports.iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect();
        policy["spec"]["ingress"] == json!([{ "ports": wanted }])
    };
    listen_at(81);
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    put_pod("Running");
    tokio::time::sleep(SOON).await;
    assert!(is_let_in(&[81]));
    listen_at(82);
    await_within(SOON, "both ports", || is_let_in(&[82, 81])).await;
    make_ready(&api);
    tokio::time::sleep(SOON).await;
    assert!(is_let_in(&[82, 81]), "the pod is still there");
    put_pod("Failed");
    await_within(SOON, "the port of before to go", || is_let_in(&[82])).await;
}
