//! The life of both charts against a real API server and controllers, with simulated nodes: upgrades, rollbacks and
//! removal of the operator leave objects and their pods alone, and its rights suffice.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use serde_json::{Value, json};
use support::chart::{helm, install_api, release, start_operator};
use support::helm::{NAMESPACE, RELEASE};
use support::operator::{self, Operator};
use support::{Cluster, await_until};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn start(cluster: &Cluster, identity: &str) -> Operator {
    start_operator(cluster, &["--identity", identity])
}

/// An object that becomes ready shows that the operator works.
fn serve(cluster: &Cluster, name: &str) {
    serve_in(cluster, "default", name);
}

fn serve_in(cluster: &Cluster, namespace: &str, name: &str) {
    cluster.apply(&object(namespace, name));
    let words = ["--for=condition=Ready", "--timeout=60s", "--namespace", namespace];
    cluster.kubectl(&[&["wait", &format!("infd/{name}")], &words[..]].concat());
}

fn object(namespace: &str, name: &str) -> Value {
    let spec =
        json!({ "models": [{ "modelId": "a/b" }], "replicas": 2, "networkPolicy": { "enabled": true } });
    operator::object(namespace, name, &spec)
}

/// Who an object, its Deployment and its pods are, and their specs' generations.
fn identities(cluster: &Cluster, name: &str) -> Vec<String> {
    let path = "jsonpath={range .items[*]}{.kind} {.metadata.uid} {.metadata.generation}{\"\\n\"}{end}";
    let label = format!("app.kubernetes.io/instance={name}");
    let children =
        cluster.kubectl(&["get", "deployments,pods,services", "--selector", &label, "--output", path]);
    let object = "jsonpath={.metadata.uid} {.metadata.generation} {.metadata.finalizers}";
    let object = cluster.kubectl(&["get", &format!("infd/{name}"), "--output", object]);
    let mut all: Vec<String> = children.lines().map(str::to_owned).chain([object]).collect();
    all.sort_unstable();
    all
}

fn log_filter(cluster: &Cluster) -> String {
    let (name, path) = (format!("{RELEASE}-settings"), "jsonpath={.data.log-filter}");
    cluster.kubectl(&["get", "configmap", &name, "--namespace", NAMESPACE, "--output", path])
}

/// Runs the command of docs/operations.md that begins and goes on so, in this folder.
fn paste(cluster: &Cluster, folder: &str, [start, word]: [&str; 2]) {
    let page = include_str!("../../docs/operations.md").replace("\\\n ", "");
    let command = page.lines().find(|line| line.starts_with(start) && line.contains(word));
    let command = command.unwrap_or_else(|| panic!("the page has no {start} … {word}"));
    cluster.run(&["exec", "--", "sh", "-c", &format!("cd '{folder}' && {command}")]);
}

/// From Helm to the `install.yaml` of a version with another API, and back.
fn move_api(cluster: &Cluster) {
    let text = std::fs::read_to_string(format!("{ROOT}/install.yaml")).unwrap();
    let (told, other) = ("description: The daemon's image;", "description: Another image;");
    assert!(text.contains(told));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("install.yaml"), text.replace(told, other)).unwrap();
    paste(cluster, folder.path().to_str().unwrap(), ["kubectl apply --server-side", "--force-conflicts"]);
    let is_other = || cluster.kubectl(&["get", "crd", "--output", "yaml"]).contains(other);
    assert!(is_other());
    cluster.kubectl(&["rollout", "status", "deployment", RELEASE, "--namespace", NAMESPACE, "--timeout=60s"]);
    helm(cluster, &["uninstall", "ostro-crds"]);
    paste(cluster, ROOT, ["helm install ostro-crds", "--take-ownership"]);
    assert!(!is_other());
}

#[test]
fn objects_and_pods_outlive_upgrades_rollbacks_and_removal() {
    let Some(cluster) = Cluster::with_simulated_nodes("test-charts") else { return };
    cluster.run(&["up", "--control-plane-only"]);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    install_api(&cluster);
    release(&cluster, "install", "logFilter=info");
    let operator = start(&cluster, "first");
    serve(&cluster, "m");
    let before = identities(&cluster, "m");
    // The object, a Deployment, a Service, two pods.
    assert_eq!(before.len(), 5, "{before:?}");
    operator.stop();

    let upgrade = "helm upgrade ostro-operator";
    for word in ["logFilter=", "image.tag=TAG"] {
        paste(&cluster, ROOT, [upgrade, word]);
        assert_eq!(log_filter(&cluster), "ostro_operator=debug,info");
    }
    release(&cluster, "upgrade", "logFilter=debug,replicas=2");
    let operator = start(&cluster, "second");
    serve(&cluster, "n");
    assert_eq!((log_filter(&cluster).as_str(), identities(&cluster, "m")), ("debug", before.clone()));
    operator.stop();

    helm(&cluster, &["rollback", RELEASE, "1", "--namespace", NAMESPACE, "--wait", "--timeout", "60s"]);
    let operator = start(&cluster, "third");
    serve(&cluster, "o");
    assert_eq!((log_filter(&cluster).as_str(), identities(&cluster, "m")), ("info", before.clone()));
    operator.stop();

    helm(&cluster, &["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "60s"]);
    helm(&cluster, &["uninstall", "ostro-crds"]);
    await_until("the operator to go", || {
        let label = format!("app.kubernetes.io/instance={RELEASE}");
        let kinds =
            "deployments,pods,services,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings";
        cluster
            .kubectl(&["get", kinds, "--all-namespaces", "--selector", &label, "--output", "name"])
            .is_empty()
    });
    assert_eq!(identities(&cluster, "m"), before);
    // The CRD that was kept is taken over by the next release of its chart.
    install_api(&cluster);
    assert_eq!(identities(&cluster, "m"), before);

    move_api(&cluster);
    let _operator = start(&cluster, "fourth");
    serve(&cluster, "p");
    assert_eq!(identities(&cluster, "m"), before);
    // Which ends when the pods have.
    cluster.kubectl(&["delete", "infd/m", "--cascade=foreground"]);
    let rest = |kinds: &str| {
        let label = "app.kubernetes.io/instance=m";
        cluster.kubectl(&["get", kinds, "--selector", label, "--output", "name"])
    };
    assert_eq!(rest("deployments,pods"), "");
    await_until("the Service to go", || rest("services").is_empty());
}

/// What the service account may do in a namespace, as the API server lists it.
fn rights(cluster: &Cluster, namespace: &str) -> String {
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{RELEASE}");
    cluster.kubectl(&["auth", "can-i", "--list", &account, "--namespace", namespace])
}

#[test]
fn a_namespaced_operator_works_where_it_is_and_may_do_nothing_elsewhere() {
    let Some(cluster) = Cluster::with_simulated_nodes("test-namespaced") else { return };
    cluster.run(&["up", "--control-plane-only"]);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    install_api(&cluster);
    release(&cluster, "install", "namespaced=true");
    // Those that everybody has, and no others.
    let own = rights(&cluster, NAMESPACE);
    let elsewhere = rights(&cluster, "default");
    for resource in ["inferencedeployments.inference.ostro.dev", "deployments.apps", "configmaps", "pods"] {
        assert!(own.contains(resource) && !elsewhere.contains(resource), "{resource}: {own}\n{elsewhere}");
    }
    assert!(!own.contains("secrets"), "{own}");
    for kind in ["clusterroles", "clusterrolebindings"] {
        let label = format!("app.kubernetes.io/instance={RELEASE}");
        assert_eq!(cluster.kubectl(&["get", kind, "--selector", &label, "--output", "name"]), "");
    }
    // Somebody else's, which it does not see.
    cluster.apply(&object("default", "other"));
    let _operator = start_operator(&cluster, &["--namespace", NAMESPACE]);
    serve_in(&cluster, NAMESPACE, "m");
    assert_eq!(cluster.kubectl(&["get", "infd/other", "--output", "jsonpath={.status}"]), "");
}
