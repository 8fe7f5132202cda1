//! The real Prometheus operator makes a scrape configuration of the monitors of models and of our operator, and a real
//! Prometheus scrapes daemon and operator by it. Pods are simulated: the processes behind them run on this machine.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::io::Write;

use ostro_e2e::{daemon::Daemon, http, model};
use serde_json::{Value, json};
use support::Cluster;
use support::chart::{install_api, release, start_operator};
use support::dashboards::{DASHBOARDS, parse, queries, selectors};
use support::helm::{NAMESPACE, RELEASE};
use support::operator::{Operator, object};
use support::prometheus::{self, Prometheus};
use tempfile::NamedTempFile;

/// Of all that this Prometheus is to scrape; it selects monitors by the label.
const JOBS: [&str; 3] =
    ["serviceMonitor/shop/m/0", "podMonitor/shop/n/0", "serviceMonitor/ostro/ostro-operator/0"];
const VALUES: &str = "serviceMonitor.enabled=true,serviceMonitor.interval=1s,\
    serviceMonitor.labels.release=prometheus,prometheusRule.enabled=true";

fn install_operator(cluster: &Cluster) -> Operator {
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    install_api(cluster);
    release(cluster, "install", VALUES);
    start_operator(cluster, &[])
}

fn create_prometheus(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "monitoring"]);
    let selector = json!({ "matchLabels": { "release": "prometheus" } });
    let object = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
        "metadata": { "name": "test", "namespace": "monitoring" },
        "spec": {
            "serviceDiscoveryRole": "EndpointSlice",
            "serviceMonitorSelector": selector, "serviceMonitorNamespaceSelector": {},
            "podMonitorSelector": selector, "podMonitorNamespaceSelector": {},
        },
    });
    cluster.apply(&object);
}

fn create_model(cluster: &Cluster, name: &str, monitor: &str) {
    let monitoring = json!({
        "kind": monitor, "interval": "1s", "scrapeTimeout": "1s", "labels": { "release": "prometheus" },
    });
    let spec = json!({ "models": [{ "modelId": "a/b" }], "monitoring": monitoring });
    cluster.apply(&object("shop", name, &spec));
    let words = ["--for=condition=Monitored", "--for=condition=Ready"];
    for word in words {
        cluster.kubectl(&["wait", word, &format!("infd/{name}"), "--namespace", "shop", "--timeout=60s"]);
    }
}

/// Address and port `http` of every pod of an application, and the port of the process that stands for it.
fn addresses(cluster: &Cluster, application: &str, port: u16) -> Vec<(String, u16)> {
    let label = format!("app.kubernetes.io/name={application}");
    let words = ["get", "pods", "--all-namespaces", "--selector", &label, "--output", "json"];
    let pods: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    let address = |pod: &Value| {
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        let http = ports.iter().find(|port| port["name"] == "http").unwrap();
        (format!("{}:{}", pod["status"]["podIP"].as_str().unwrap(), http["containerPort"]), port)
    };
    pods["items"].as_array().unwrap().iter().map(address).collect()
}

/// One answer, so that there is something to count.
fn ask(daemon: &Daemon) {
    let body = json!({ "model": daemon.model_id().unwrap(), "prompt": "Once", "max_tokens": 4 });
    http::post(&format!("{}/v1/completions", daemon.base())).send_json(body).unwrap();
}

/// Standard output of promtool, which must find nothing wrong.
fn check(cluster: &Cluster, what: &str, text: &str) -> String {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let output = cluster.try_run(&["exec", "--", "promtool", "check", what, path]);
    let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    told
}

/// Names that autoscalers and gateways already read have vLLM's colon, which is otherwise for recording rules.
const ALLOWED: (&str, &str) = ("vllm:", " metric names should not contain ':'");

fn metrics(port: u16) -> String {
    let url = format!("http://127.0.0.1:{port}/metrics");
    http::get(&url).call().unwrap().body_mut().read_to_string().unwrap()
}

fn check_metrics(cluster: &Cluster, port: u16) {
    let output = cluster.exec_input(&["promtool", "check", "metrics"], &metrics(port));
    let told = String::from_utf8(output.stderr).unwrap();
    let is_allowed = |line: &&str| line.starts_with(ALLOWED.0) && line.ends_with(ALLOWED.1);
    let findings: Vec<&str> = told.lines().filter(|line| !is_allowed(line)).collect();
    assert_eq!(findings, [""; 0]);
    // 3: it read the text, and told of what is allowed.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", output.status);
}

/// Those of the chart, which the page shows.
fn check_alerts(cluster: &Cluster) {
    let rules = include_str!("../../charts/ostro-operator/files/alerts.yaml");
    let page = include_str!("../../docs/operations.md");
    assert!(page.contains(&format!("```yaml\n{rules}```")), "docs/operations.md shows other alerts");
    let told = check(cluster, "rules", rules);
    assert!(told.contains("SUCCESS"), "{told}");
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/monitoring/alerts.yaml");
    cluster.run(&["exec", "--", "promtool", "test", "rules", tests]);
    let words = ["get", "prometheusrule", RELEASE, "--namespace", NAMESPACE, "--output", "json"];
    let object: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    let shown: Value = serde_saphyr::from_str(rules).unwrap();
    assert_eq!(object["spec"], shown);
}

/// Grafana's variables, longer names first, and what each may stand for.
const VARIABLES: [(&str, &str); 7] = [
    ("$__rate_interval", "1m"),
    ("$__range", "1h"),
    ("$deployment", ".*"),
    ("$namespace", ".*"),
    ("$model", ".+"),
    ("$pod", ".*"),
    ("$by", "namespace, job"),
];

/// Families without a member here: nobody is refused, no reconcile fails, and no GPU is read. Tests of the server and of
/// the operator hold their names.
const ABSENT: [&str; 7] = [
    "ostro_admission_rejections_total",
    "ostro_gpu_memory_total_bytes",
    "ostro_gpu_memory_used_bytes",
    "ostro_gpu_power_watts",
    "ostro_gpu_temperature_celsius",
    "ostro_gpu_utilization_ratio",
    "ostro_operator_reconcile_errors_total",
];

/// Every query is one, and what it asks for is served.
fn check_dashboards(cluster: &Cluster, exposed: &str) {
    let mut rules = Vec::new();
    for (name, text) in DASHBOARDS {
        let dashboard = parse(text);
        for query in queries(&dashboard) {
            check_exposed(exposed, query);
            let expression =
                VARIABLES.iter().fold(query.to_owned(), |text, (name, value)| text.replace(name, value));
            assert!(!expression.contains('$'), "{expression}");
            let record = format!("{name}:{}", rules.len());
            rules.push(json!({ "record": record, "expr": expression }));
        }
    }
    let success = format!("SUCCESS: {} rules found", rules.len());
    let group = json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    let told = check(cluster, "rules", &group.to_string());
    assert!(told.contains(&success), "{told}");
}

/// The metrics of a query, with a model's name where it selects by one.
fn check_exposed(exposed: &str, query: &str) {
    for (metric, matchers) in selectors(query) {
        let label = if matchers.contains("model_name=") { "model_name=\"" } else { "" };
        let is_sample = |line: &str| {
            let rest = line.strip_prefix(metric).unwrap_or_default();
            rest.starts_with(['{', ' ']) && rest.contains(label)
        };
        assert!(exposed.lines().any(is_sample) || ABSENT.contains(&metric), "{metric} of {query}");
    }
}

/// The queries of docs/gpu.md, each after a comment; the first one joins a model on the CPU too.
fn check_joins(cluster: &Cluster, prometheus: &Prometheus) {
    let page = include_str!("../../docs/gpu.md");
    let block = page.split("```promql\n").nth(1).unwrap().split("```").next().unwrap();
    let queries = block.split("# ").skip(1).map(|part| part.split_once('\n').unwrap().1);
    let queries: Vec<&str> = queries.collect();
    let rule = |(at, query)| json!({ "record": format!("join:{at}"), "expr": query });
    let rules = queries.iter().enumerate().map(rule);
    let group = json!({ "groups": [{ "name": "joins", "rules": rules.collect::<Vec<_>>() }] });
    check(cluster, "rules", &group.to_string());
    prometheus.await_series(queries[0]);
    let devices: Vec<Value> = prometheus.query(queries[0]);
    assert!(devices.iter().all(|series| series["metric"]["device"] == "cpu"), "{devices:?}");
}

#[test]
fn prometheus_scrapes_models_and_operator_by_their_monitors() {
    let Some(cluster) = Cluster::with_monitoring("test-monitoring") else { return };
    cluster.run(&["up", "--control-plane-only"]);
    let _prometheus_operator = prometheus::start_operator(&cluster);
    create_prometheus(&cluster);
    let operator = install_operator(&cluster);
    cluster.kubectl(&["create", "namespace", "shop"]);
    create_model(&cluster, "m", "ServiceMonitor");
    create_model(&cluster, "n", "PodMonitor");
    let daemon = Daemon::start(&model::ensure_smollm2().unwrap(), &[]).unwrap();
    ask(&daemon);

    let config = prometheus::await_config(&cluster, "monitoring", "test", &JOBS);
    check(&cluster, "config", &config);
    let addresses =
        [addresses(&cluster, "ostro", daemon.port()), addresses(&cluster, RELEASE, operator.port())];
    let kubeconfig = format!("{}/kubeconfig", cluster.folder());
    let config = prometheus::outside(&config, &kubeconfig, &addresses.concat());
    check(&cluster, "config", &config.to_string());
    let prometheus = Prometheus::start(&cluster, &config);

    for (job, namespace) in [("m", "shop"), ("shop/n", "shop"), (RELEASE, NAMESPACE)] {
        prometheus.await_series(&format!("up{{job=\"{job}\", namespace=\"{namespace}\"}} == 1"));
    }
    for query in [
        "http_requests_total{job=\"m\", path=\"/v1/completions\", status=\"200\"} == 1",
        "ostro_generation_tokens_total{job=\"shop/n\", pod=~\"n-.+\"} > 0",
        "ostro_operator_objects{job=\"ostro-operator\"} == 2",
        "ostro_operator_reconciles_total{job=\"ostro-operator\"} > 0",
        "ostro_operator_daemon_requests_total{job=\"ostro-operator\"} > 0",
    ] {
        prometheus.await_series(query);
    }
    assert_eq!(prometheus.query("up").len(), JOBS.len());
    check_metrics(&cluster, daemon.port());
    check_metrics(&cluster, operator.port());
    check_alerts(&cluster);
    check_joins(&cluster, &prometheus);
    check_dashboards(&cluster, &(metrics(daemon.port()) + &metrics(operator.port())));
}
