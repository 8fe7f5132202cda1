//! Who reaches pods, and whom they reach.

use super::*;

#[test]
fn ports_follow_the_server() {
    let objects = built(with(json!({ "server": { "port": 8000 }, "networkPolicy": { "enabled": true } })));
    let deployment = of_kind(&objects, "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], 8000);
    assert_eq!(of_kind(&objects, "Service").unwrap()["spec"]["ports"][0]["targetPort"], "http");
    let policy = of_kind(&objects, "NetworkPolicy").unwrap();
    // From everywhere: clients, Prometheus, and the operator, which asks for the models' state.
    assert_eq!(policy["spec"]["ingress"], json!([{ "ports": [{ "protocol": "TCP", "port": 8000 }] }]));
    assert_eq!(policy["spec"]["egress"].as_array().unwrap().len(), 2);
    let offline = json!({ "networkPolicy": { "enabled": true, "offline": true } });
    assert_eq!(of_kind(&built(with(offline.clone())), "NetworkPolicy").unwrap()["spec"]["egress"], json!([]));
    let names: Vec<Value> = pod(offline)["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].clone())
        .collect();
    assert!(names.contains(&json!("HF_HUB_OFFLINE")), "{names:?}");
}

/// Which have the hub's token, and nothing to ask anybody.
#[test]
fn pods_that_prune_reach_nothing() {
    let cache = json!({ "volume": { "size": "1Gi" }, "prune": true });
    let objects = built(with(json!({ "cache": cache, "networkPolicy": { "enabled": true } })));
    let policy = objects.iter().find(|object| object["metadata"]["name"] == "m.prune").unwrap();
    let selected = json!({ "app.kubernetes.io/name": "ostro-prune", "app.kubernetes.io/instance": "m" });
    let expected = json!({
        "podSelector": { "matchLabels": selected },
        "ingress": [], "egress": [], "policyTypes": ["Ingress", "Egress"],
    });
    assert_eq!(policy["spec"], expected);
    for lacking in [json!({ "cache": cache }), json!({ "networkPolicy": { "enabled": true } })] {
        let objects = built(with(lacking));
        assert!(objects.iter().all(|object| object["metadata"]["name"] != "m.prune"));
    }
}

/// The daemon's port has this name in the Service and in the pod.
#[test]
fn a_monitor_selects_what_the_object_serves() {
    for (kind, endpoints) in [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")] {
        let labels = json!({ "release": "prometheus" });
        let monitoring = json!({ "kind": kind, "labels": labels, "interval": "1m", "scrapeTimeout": "10s" });
        let objects = built(with(json!({ "monitoring": monitoring, "server": { "port": 8000 } })));
        let monitors: Vec<&Value> =
            objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Monitor")).collect();
        assert_eq!(monitors.len(), 1, "{monitors:?}");
        let monitor = monitors[0];
        assert_eq!(
            (&monitor["kind"], &monitor["apiVersion"]),
            (&json!(kind), &json!("monitoring.coreos.com/v1"))
        );
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let endpoint =
            json!({ "port": "http", "path": "/metrics", "interval": "1m", "scrapeTimeout": "10s" });
        assert_eq!(monitor["spec"][endpoints], json!([endpoint]));
        let template = of_kind(&objects, "Deployment").unwrap()["spec"]["template"].clone();
        let service = of_kind(&objects, "Service").unwrap();
        assert_eq!(template["spec"]["containers"][0]["ports"][0]["name"], "http");
        assert_eq!(service["spec"]["ports"][0]["name"], "http");
        let selector = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        assert_eq!(selector.len(), 2, "{selector:?}");
        for (label, value) in selector {
            for selected in [&service["metadata"]["labels"][label], &template["metadata"]["labels"][label]] {
                assert_eq!(selected, value, "{label}");
            }
        }
    }
    let plain = of_kind(&built(with(json!({ "monitoring": {} }))), "ServiceMonitor").unwrap();
    assert_eq!(plain["spec"]["endpoints"], json!([{ "port": "http", "path": "/metrics" }]));
}
