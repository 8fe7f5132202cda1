//! Values reach the objects, and bad ones are refused.

use serde_json::{Value, json};

use crate::support::helm::{Helm, RELEASE, documents, image, only, template};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn values_reach_the_objects() {
    let Some(helm) = Helm::find() else { return };
    let digest = format!("image.digest={DIGEST}");
    let daemon = format!("daemonImage.digest={DIGEST}");
    let cases: [Reaches; 12] = [
        // As a parent chart hands it down with `condition: ostro-operator.enabled`.
        (&["enabled=true"], "Deployment", "/spec/replicas", json!(1)),
        (
            &[],
            "Deployment",
            "/spec/template/spec/containers/0/image",
            json!(image("ostro-operator", ":", env!("CARGO_PKG_VERSION"))),
        ),
        (
            &["image.tag=v1"],
            "Deployment",
            "/spec/template/spec/containers/0/image",
            json!(image("ostro-operator", ":", "v1")),
        ),
        (
            &["image.tag=v1", &digest],
            "Deployment",
            "/spec/template/spec/containers/0/image",
            json!(image("ostro-operator", "@", DIGEST)),
        ),
        (
            &[],
            "Deployment",
            "/spec/template/spec/containers/0/env/0/value",
            json!(image("ostro", ":", env!("CARGO_PKG_VERSION"))),
        ),
        (
            &[&daemon],
            "Deployment",
            "/spec/template/spec/containers/0/env/0/value",
            json!(image("ostro", "@", DIGEST)),
        ),
        (&["replicas=3"], "Deployment", "/spec/replicas", json!(3)),
        (
            &["replicas=2"],
            "Deployment",
            "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels/app.kubernetes.io~1instance",
            json!(RELEASE),
        ),
        (&["replicas=2"], "PodDisruptionBudget", "/spec/maxUnavailable", json!(1)),
        (
            &["image.pullSecrets[0].name=s"],
            "Deployment",
            "/spec/template/spec/imagePullSecrets",
            json!([{ "name": "s" }]),
        ),
        (
            &["resources.limits.memory=1Gi"],
            "Deployment",
            "/spec/template/spec/containers/0/resources/limits/memory",
            json!("1Gi"),
        ),
        (
            &["networkPolicy.enabled=true", "networkPolicy.apiServerPorts={8443}"],
            "NetworkPolicy",
            "/spec/egress/1/ports",
            json!([{ "protocol": "TCP", "port": 8443 }]),
        ),
    ];
    check_reached(&helm, cases);
}

#[test]
fn values_of_monitoring_reach_its_objects() {
    let Some(helm) = Helm::find() else { return };
    let cases: [Reaches; 4] = [
        (
            &["serviceMonitor.enabled=true", "serviceMonitor.labels.release=p"],
            "ServiceMonitor",
            "/metadata/labels/release",
            json!("p"),
        ),
        (&["serviceMonitor.enabled=true"], "ServiceMonitor", "/spec/endpoints/0/port", json!("http")),
        (
            &["prometheusRule.enabled=true", "prometheusRule.labels.release=p"],
            "PrometheusRule",
            "/metadata/labels/release",
            json!("p"),
        ),
        (
            &["prometheusRule.enabled=true"],
            "PrometheusRule",
            "/spec/groups/0/rules/0/alert",
            json!("OstroOperatorNotLeading"),
        ),
    ];
    check_reached(&helm, cases);
}

/// Values, and what is then at a path of the object of a kind.
type Reaches<'a> = (&'a [&'a str], &'a str, &'a str, Value);

fn check_reached<const N: usize>(helm: &Helm, cases: [Reaches; N]) {
    for (values, kind, path, expected) in cases {
        let objects = helm.render(values);
        assert_eq!(only(&objects, kind).pointer(path), Some(&expected), "{values:?}: {kind} {path}");
    }
}

#[test]
fn values_keep_the_objects_sound() {
    let Some(helm) = Helm::find() else { return };
    let instance = "/metadata/labels/app.kubernetes.io~1instance";
    let cases: [(&[&str], &str, &str, &str); 3] = [
        // A number, were it not quoted.
        (&["priorityClassName=1e3"], "Deployment", "/spec/template/spec/priorityClassName", "1e3"),
        // Twice the same key is no YAML.
        (
            &["serviceMonitor.enabled=true", "serviceMonitor.labels.app\\.kubernetes\\.io/instance=p"],
            "ServiceMonitor",
            instance,
            "p",
        ),
        (&["serviceMonitor.enabled=true", "serviceMonitor.labels=null"], "ServiceMonitor", instance, RELEASE),
    ];
    for (values, kind, path, expected) in cases {
        let objects = helm.render(values);
        assert_eq!(only(&objects, kind).pointer(path), Some(&json!(expected)), "{values:?}");
    }
}

/// A Service's has a letter first and no dots; and no text here is a number.
#[test]
fn names_that_helm_takes_are_the_clusters() {
    let Some(helm) = Helm::find() else { return };
    for (release, name) in [
        ("a.b", "a-b-ostro-operator"),
        ("ostro-operator.v1", "ostro-operator-v1"),
        ("7", "r7-ostro-operator"),
    ] {
        let set = "replicas=2,networkPolicy.enabled=true,serviceMonitor.enabled=true,\
            prometheusRule.enabled=true,dashboards.enabled=true";
        let text = helm.run(&["template", release, "ostro-operator", "--namespace", "12", "--set", set]);
        for object in documents(&text) {
            let metadata = &object["metadata"];
            let found = metadata["name"].as_str().unwrap();
            let suffix = found.strip_prefix(name).unwrap_or_else(|| panic!("{release}: {found}"));
            let is_ours =
                ["", "-leader", "-settings", "-dashboard-models", "-dashboard-operator"].contains(&suffix);
            assert!(is_ours, "{release}: {found}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], release);
            assert!(metadata["namespace"].is_null() || metadata["namespace"] == "12", "{object}");
        }
    }
}

/// With a plus, as Flux makes one of each commit (`reconcileStrategy: Revision`): no label may have it.
#[test]
fn every_version_of_the_chart_makes_labels_of_kubernetes() {
    let Some(helm) = Helm::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let render = |version: &str| {
        let version = format!("{}+{version}", env!("CARGO_PKG_VERSION"));
        let named = ["--version", &version, "--app-version", "1.0+x", "--destination", folder];
        helm.run(&[&["package", "ostro-operator"], &named[..]].concat());
        let archive = format!("{folder}/ostro-operator-{version}.tgz");
        documents(&helm.run(&["template", RELEASE, &archive, "--set", "dashboards.enabled=true"]))
    };
    let pod_labels =
        |objects: &[Value]| only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].clone();
    // Cut behind the dash.
    let before = format!("ostro-operator-{}_-", env!("CARGO_PKG_VERSION")).len();
    let long = "a".repeat(63 - before) + "-" + &"b".repeat(50);
    let objects = [render("4e5cbb7b97d0"), render(&long)];
    for object in objects.iter().flatten() {
        let pod = object.pointer("/spec/template/metadata/labels");
        for labels in [object.pointer("/metadata/labels"), pod].into_iter().flatten() {
            for (name, value) in labels.as_object().unwrap() {
                assert!(is_label(value.as_str().unwrap()), "{name}: {value}");
            }
        }
    }
    // Else each commit would start the operator anew.
    assert_eq!(pod_labels(&objects[0]), pod_labels(&objects[1]));
}

fn is_label(value: &str) -> bool {
    let is_inner = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let is_end = |character: Option<char>| character.is_none_or(|one| one.is_ascii_alphanumeric());
    let mut characters = value.chars();
    value.len() <= 63
        && value.chars().all(is_inner)
        && is_end(characters.next())
        && is_end(characters.next_back())
}

#[test]
fn a_policy_lets_the_operator_out_to_its_pods() {
    let Some(helm) = Helm::find() else { return };
    let pods = |more: Value| {
        let labels = json!({ "app.kubernetes.io/managed-by": "ostro-operator" });
        let mut pods = json!({ "podSelector": { "matchLabels": labels } });
        pods.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "to": [pods] })
    };
    let cases: [(&[&str], Value); 2] = [
        (&["networkPolicy.enabled=true"], pods(json!({ "namespaceSelector": {} }))),
        (&["networkPolicy.enabled=true", "namespaced=true"], pods(json!({}))),
    ];
    for (values, expected) in cases {
        let objects = helm.render(values);
        let egress = only(&objects, "NetworkPolicy").pointer("/spec/egress/2");
        assert_eq!(egress, Some(&expected), "{values:?}");
    }
}

#[test]
fn traces_go_where_they_are_to() {
    let Some(helm) = Helm::find() else { return };
    for (endpoint, port) in [("http://collector.x:4318", 4318), ("http://collector-1/a:5", 80)] {
        let set = format!("traces.endpoint={endpoint}");
        let objects = helm.render(&[&set, "networkPolicy.enabled=true"]);
        let variables = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"];
        let expected = json!({ "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": endpoint });
        assert!(variables.as_array().unwrap().contains(&expected), "{variables}");
        let egress = only(&objects, "NetworkPolicy")["spec"]["egress"].clone();
        let expected = json!({ "ports": [{ "protocol": "TCP", "port": port }] });
        assert!(egress.as_array().unwrap().contains(&expected), "{egress}");
    }
}

#[test]
fn a_namespaced_operator_watches_its_own_namespace() {
    let Some(helm) = Helm::find() else { return };
    let variable = |values: &[&str]| {
        let objects = helm.render(values);
        let variables = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"];
        let mut found = variables.as_array().unwrap().iter();
        found.find(|variable| variable["name"] == "OSTRO_WATCH_NAMESPACE").cloned()
    };
    assert_eq!(variable(&[]), None);
    let source = json!({ "fieldRef": { "fieldPath": "metadata.namespace" } });
    assert_eq!(variable(&["namespaced=true"]).unwrap()["valueFrom"], source);
}

#[test]
fn bad_values_are_refused_by_name() {
    let Some(helm) = Helm::find() else { return };
    let cases = [
        ("replicas=many", "/replicas"),
        ("replicas=6", "/replicas"),
        ("replcias=2", "replcias"),
        ("namespaced=maybe", "/namespaced"),
        ("enabled=maybe", "/enabled"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=1.0", "/image/digest"),
        ("image.repository=null", "repository"),
        ("daemonImage.repository=", "/daemonImage/repository"),
        ("daemonImage.digest=sha256:12", "/daemonImage/digest"),
        ("resources=null", "resources"),
        ("tolerations[0]=1", "/tolerations/0"),
        ("networkPolicy.apiServerPorts=null", "apiServerPorts"),
        ("networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts/0"),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval"),
        ("serviceMonitor.enable=true", "enable"),
        ("prometheusRule.labels.a=1", "/prometheusRule/labels/a"),
        ("dashboards.enable=true", "enable"),
        ("dashboards.labels.a=1", "/dashboards/labels/a"),
        ("dashboards.namespace=A_b", "/dashboards/namespace"),
        ("traces.endpoint=https://x:4318", "/traces/endpoint"),
    ];
    for (value, field) in cases {
        let error = helm.error(&template(&[value]));
        let told = error.lines().any(|line| line.starts_with("- at '") && line.contains(field));
        assert!(told, "{value}: {error}");
    }
}
