//! Whatever the values are, objects are as clusters with rules want them.

use serde_json::{Value, json};

use crate::support::helm::{Helm, NAMESPACE, RELEASE, only};

/// Values, and the kinds of objects that come of them beside `ALWAYS`.
struct Case {
    values: &'static [&'static str],
    rights: [&'static str; 2],
    more: &'static [&'static str],
}

const ALWAYS: [&str; 6] = ["ConfigMap", "Deployment", "Role", "RoleBinding", "Service", "ServiceAccount"];
const CLUSTER_WIDE: [&str; 2] = ["ClusterRole", "ClusterRoleBinding"];
const NAMESPACED: [&str; 2] = ["Role", "RoleBinding"];

const CASES: [Case; 8] = [
    Case { values: &[], rights: CLUSTER_WIDE, more: &[] },
    Case {
        values: &["replicas=0", "priorityClassName=high", "logFilter=debug"],
        rights: CLUSTER_WIDE,
        more: &[],
    },
    Case { values: &["namespaced=true"], rights: NAMESPACED, more: &[] },
    Case { values: &["namespaced=true", "replicas=2"], rights: NAMESPACED, more: &["PodDisruptionBudget"] },
    Case {
        values: &["networkPolicy.enabled=true", "nodeSelector.a=b", "tolerations[0].operator=Exists"],
        rights: CLUSTER_WIDE,
        more: &["NetworkPolicy"],
    },
    Case {
        values: &["serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus"],
        rights: CLUSTER_WIDE,
        more: &["ServiceMonitor"],
    },
    Case {
        values: &["prometheusRule.enabled=true", "prometheusRule.labels.release=prometheus"],
        rights: CLUSTER_WIDE,
        more: &["PrometheusRule"],
    },
    Case {
        values: &["dashboards.enabled=true", "dashboards.labels.team=a"],
        rights: CLUSTER_WIDE,
        more: &["ConfigMap", "ConfigMap"],
    },
];

#[test]
fn charts_pass_lint() {
    let Some(helm) = Helm::find() else { return };
    helm.run(&["lint", "--strict", "ostro-crds", "ostro-operator"]);
    for case in &CASES {
        let set = case.values.join(",");
        helm.run(&["lint", "--strict", "--quiet", "--set", &set, "ostro-operator"]);
    }
}

#[test]
fn every_object_of_every_case_is_sound() {
    let Some(helm) = Helm::find() else { return };
    for Case { values, rights, more } in &CASES {
        let objects = helm.render(values);
        let mut found: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        let mut expected = [&ALWAYS[..], rights, more].concat();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{values:?}");
        let pod = &only(&objects, "Deployment")["spec"]["template"];
        check_pod(pod);
        for object in &objects {
            check_metadata(object);
            check_selectors(object, pod);
            check_rights(object);
        }
    }
}

fn check_metadata(object: &Value) {
    let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
    let is_clusters = kind.starts_with("Cluster");
    assert_eq!(metadata["namespace"].is_null(), is_clusters, "{object}");
    assert!(is_clusters || metadata["namespace"] == NAMESPACE, "{object}");
    assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], RELEASE, "{object}");
    assert_eq!(metadata["labels"]["app.kubernetes.io/version"], env!("CARGO_PKG_VERSION"), "{object}");
}

/// The `restricted` standard, by all of its rules that a pod without volumes can break; probes; limits.
fn check_pod(pod: &Value) {
    let spec = &pod["spec"];
    for name in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"] {
        assert!(spec[name].is_null(), "{name}");
    }
    // The filter of its logs.
    let volumes = spec["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["configMap"].is_object()), "{volumes:?}");
    let security = json!({ "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" } });
    assert_eq!(spec["securityContext"], security);
    let [container] = spec["containers"].as_array().unwrap().as_slice() else { panic!("{spec}") };
    let security = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } });
    assert_eq!(container["securityContext"], security);
    let ports = container["ports"].as_array().unwrap();
    assert!(ports.iter().all(|port| port["hostPort"].is_null()));
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert!(ports.iter().any(|port| port["name"] == container[probe]["httpGet"]["port"]), "{probe}");
    }
    let resources = &container["resources"];
    for amount in
        [&resources["requests"]["cpu"], &resources["requests"]["memory"], &resources["limits"]["memory"]]
    {
        assert!(amount.is_string(), "{resources}");
    }
}

/// What selects pods selects the operator's, by labels that no upgrade changes.
fn check_selectors(object: &Value, pod: &Value) {
    let spec = &object["spec"];
    let selector = match object["kind"].as_str().unwrap() {
        "Deployment" | "PodDisruptionBudget" | "ServiceMonitor" => &spec["selector"]["matchLabels"],
        "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
        "Service" => &spec["selector"],
        _ => return,
    };
    let constant =
        json!({ "app.kubernetes.io/name": "ostro-operator", "app.kubernetes.io/instance": RELEASE });
    assert_eq!(*selector, constant, "{object}");
    for (label, value) in selector.as_object().unwrap() {
        assert_eq!(pod["metadata"]["labels"][label], *value, "{object}");
    }
}

/// No right to everything, none to read Secrets, none to change what people wrote.
fn check_rights(object: &Value) {
    for rule in object["rules"].as_array().into_iter().flatten() {
        let list = |name: &str| -> Vec<&str> {
            rule[name].as_array().into_iter().flatten().map(|value| value.as_str().unwrap()).collect()
        };
        let (resources, verbs) = (list("resources"), list("verbs"));
        assert!(!resources.is_empty() && !verbs.is_empty(), "{rule}");
        let all = [list("apiGroups"), resources.clone(), verbs.clone()].concat();
        assert!(!all.contains(&"*") && !resources.contains(&"secrets"), "{rule}");
        let is_reading = verbs.iter().all(|verb| ["get", "list", "watch"].contains(verb));
        assert!(is_reading || !resources.contains(&"inferencedeployments"), "{rule}");
    }
}
