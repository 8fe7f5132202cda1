//! The operator against a real API server, controllers and scheduler, with simulated nodes: children, status, writes,
//! crashes, deletion. Four clusters, told of by the same few functions.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod caches;
mod foreign;
mod scaling;
mod specs;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use ostro_e2e::writes::Writes;
use serde_json::{Value, json};
use support::operator::{Operator, apply_api, object};
use support::{Cluster, await_until};

const NAMESPACE: &str = "shop";
const FIRST_IMAGE: &str = "registry.local/ostro:1";
const SECOND_IMAGE: &str = "registry.local/ostro:2";

fn start(cluster: &Cluster, identity: &str) -> Operator {
    start_with(cluster, identity, FIRST_IMAGE)
}

/// With a default image, by which an operator renders other pods than its predecessor.
fn start_with(cluster: &Cluster, identity: &str, image: &str) -> Operator {
    Operator::start(cluster, &["--image", image, "--identity", identity])
}

fn manifest(name: &str, spec: &Value) -> String {
    object(NAMESPACE, name, spec).to_string()
}

fn get(cluster: &Cluster, what: &str) -> Value {
    let words = ["get", what, "--namespace", "shop", "--output", "json"];
    serde_json::from_str(&cluster.kubectl(&words)).unwrap()
}

fn condition(cluster: &Cluster, name: &str, kind: &str) -> Option<Value> {
    let object = get(cluster, &format!("infd/{name}"));
    let conditions = object["status"]["conditions"].as_array()?.clone();
    conditions.into_iter().find(|condition| condition["type"] == kind)
}

fn await_ready(cluster: &Cluster, name: &str, replicas: &str) {
    await_until(&format!("{name} to be ready"), || {
        let is_ready = condition(cluster, name, "Ready").is_some_and(|ready| ready["status"] == "True");
        is_ready && get(cluster, &format!("infd/{name}"))["status"]["replicasReady"] == replicas
    });
}

const CHILDREN: &str = "deployments,statefulsets,services,configmaps,serviceaccounts,poddisruptionbudgets,networkpolicies,persistentvolumeclaims,controllerrevisions,jobs";

/// `kind/name` of what belongs to an object.
fn children(cluster: &Cluster, name: &str) -> Vec<String> {
    let label = format!("app.kubernetes.io/instance={name}");
    let words = ["get", CHILDREN, "--namespace", "shop", "--selector", &label, "--output", "name"];
    cluster.kubectl(&words).lines().map(str::to_owned).collect()
}

fn writes(cluster: &Cluster) -> Writes {
    Writes::parse(&cluster.kubectl(&["get", "--raw", "/metrics"]))
}

/// Writes by server-side apply, which nobody but the operator does here, as the API server counts them.
fn applies(cluster: &Cluster) -> u64 {
    let writes = writes(cluster).0.into_iter();
    writes.filter(|(name, _)| name.starts_with("APPLY ")).map(|(_, count)| count).sum()
}

/// Until nothing was written for a moment; what was.
fn await_rest(cluster: &Cluster) -> Writes {
    let mut before = writes(cluster);
    await_until("writes to end", || {
        std::thread::sleep(Duration::from_secs(3));
        let (last, now) = (before.clone(), writes(cluster));
        before = now;
        before.since(&last).total() == 0
    });
    before
}

/// Nobody writes for so long after that, but for events that the operator does not tell: Kubernetes' own controllers repeat
/// themselves.
fn check_idle(cluster: &Cluster, seconds: u64) {
    await_rest(cluster);
    // Events first: none that is counted is taken for an old one.
    let (events_before, before) = (events(cluster), writes(cluster));
    std::thread::sleep(Duration::from_secs(seconds));
    let (mut written, events) = (writes(cluster).since(&before), events(cluster));
    let new: Vec<&String> = events.difference(&events_before).collect();
    let of_operator = new.iter().any(|event| event.contains(" ostro-operator "));
    written.0.retain(|name, _| of_operator || !name.ends_with(" events"));
    assert_eq!(written.describe(), "", "new or changed events: {new:#?}");
}

/// Who said what, how often and at which version, a line each: reading them writes nothing.
fn events(cluster: &Cluster) -> BTreeSet<String> {
    const LINE: &str = "{range .items[*]}{.metadata.resourceVersion} {.reportingComponent} {.count} {.series} \
        {.involvedObject.kind}/{.involvedObject.name} {.reason}: {.message}{\"\\n\"}{end}";
    let output = format!("jsonpath={LINE}");
    let all = cluster.kubectl(&["get", "events", "--all-namespaces", "--output", &output]);
    all.lines().map(str::to_owned).collect()
}

/// A control plane that knows the API, with a namespace that takes restricted pods only.
fn up(name: &'static str) -> Option<Cluster> {
    let cluster = Cluster::with_simulated_nodes(name)?;
    cluster.run(&["up", "--control-plane-only"]);
    apply_api(&cluster);
    cluster.kubectl(&["create", "namespace", "shop"]);
    cluster.kubectl(&["label", "namespace", "shop", "pod-security.kubernetes.io/enforce=restricted"]);
    Some(cluster)
}

#[test]
fn an_object_becomes_ready_pods_and_goes_without_a_trace() {
    let Some(cluster) = up("test-operator") else { return };
    let operator = start(&cluster, "first");
    let spec = json!({ "models": [{ "modelId": "a/b" }], "resources": { "requests": { "cpu": "100m" } } });
    cluster.apply(&manifest("m", &spec));
    await_ready(&cluster, "m", "1/1");
    let found = children(&cluster, "m");
    let expected = [
        "deployment.apps/m",
        "service/m",
        "configmap/m-config-",
        "serviceaccount/m",
        "controllerrevision.apps/m-",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert!(found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)), "{found:?}");
    cluster.kubectl(&["scale", "infd/m", "--replicas=3", "--namespace", "shop"]);
    await_ready(&cluster, "m", "3/3");
    assert!(children(&cluster, "m").contains(&"poddisruptionbudget.policy/m".to_owned()));

    foreign::check(&cluster, &spec);

    await_rest(&cluster);
    // After a crash the next operator finds nothing to do.
    let before = applies(&cluster);
    operator.kill();
    let _operator = start(&cluster, "second");
    await_leader(&cluster, "second");
    cluster.apply(&manifest("n", &spec));
    await_ready(&cluster, "n", "1/1");
    let of_new = applies(&cluster) - before;
    // Four children beside the revision, which is not applied, and the status as it changed; `m` was reconciled too.
    assert!((5..=12).contains(&of_new), "{of_new} writes");
    // What the operator does by itself comes every 10 or 30 seconds, or after five minutes.
    check_idle(&cluster, 35);

    cluster.kubectl(&["delete", "infd/m", "infd/n", "--namespace", "shop", "--cascade=foreground"]);
    for name in ["m", "n"] {
        await_until("the children to go", || children(&cluster, name).is_empty());
    }
}

#[test]
fn autoscalers_and_odd_specs_are_followed() {
    let Some(cluster) = up("test-specs") else { return };
    let _operator = start(&cluster, "only");
    scaling::check(&cluster);
    specs::check(&cluster);
}

/// The Deployment's generation and the image of its pods.
fn deployed(cluster: &Cluster) -> (i64, String) {
    let deployment = get(cluster, "deployment/m");
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    (deployment["metadata"]["generation"].as_i64().unwrap(), image.as_str().unwrap().to_owned())
}

/// What TemplateUpdatePending says, once it says this.
fn await_pending(cluster: &Cluster, part: &str) -> String {
    let mut message = String::new();
    await_until(&format!("TemplateUpdatePending with {part}"), || {
        let pending = condition(cluster, "m", "TemplateUpdatePending");
        message =
            pending.and_then(|pending| Some(pending["message"].as_str()?.to_owned())).unwrap_or_default();
        message.contains(part)
    });
    message
}

fn check_patches(cluster: &Cluster) {
    let patched = |patch: Value| json!({ "models": [{ "modelId": "a/b" }], "podTemplatePatch": patch });
    let patch = json!({ "spec": { "hostname": "x", "securityContext": { "fsGroup": null } } });
    // Without the word kubectl drops what is null.
    let words = ["apply", "--server-side", "-f", "-"];
    let output = cluster.kubectl_input(&words, &manifest("patched", &patched(patch)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    await_ready(cluster, "patched", "1/1");
    let pod = get(cluster, "deployment/patched")["spec"]["template"]["spec"].clone();
    assert_eq!((&pod["hostname"], pod["securityContext"].get("fsGroup")), (&json!("x"), None));
    cluster.apply(&manifest("wrong", &patched(json!({ "spec": { "hostNam": "x" } }))));
    await_until("the field to be named", || {
        condition(cluster, "wrong", "Ready").is_some_and(|ready| {
            let message = ready["message"].as_str().unwrap();
            ready["reason"] == "InvalidConfig" && message.contains("spec.podTemplatePatch.spec.hostNam ")
        })
    });
    assert_eq!(children(cluster, "wrong"), [""; 0]);
}

#[test]
fn a_new_operator_restarts_no_pods_until_it_is_told_to() {
    let Some(cluster) = up("test-hold") else { return };
    let operator = start(&cluster, "first");
    cluster.apply(&manifest("m", &json!({ "models": [{ "modelId": "a/b" }] })));
    await_ready(&cluster, "m", "1/1");
    let before = deployed(&cluster);
    operator.stop();

    let operator = start_with(&cluster, "second", SECOND_IMAGE);
    await_pending(&cluster, "would change spec.containers[ostro].image. ");
    assert_eq!(deployed(&cluster), before);
    await_ready(&cluster, "m", "1/1");
    assert_eq!(get(&cluster, "infd/m")["status"]["image"], FIRST_IMAGE);
    operator.stop();

    // As one from before there were revisions.
    let all = ["--namespace", "shop", "--all"];
    cluster.kubectl(&[&["delete", "controllerrevisions"], &all[..]].concat());
    let _operator = start_with(&cluster, "third", SECOND_IMAGE);
    let message = await_pending(&cluster, "found in the cluster");
    assert!(message.contains("would change spec.containers[ostro].image. "), "{message}");
    assert_eq!(deployed(&cluster), before);
    check_patches(&cluster);
    assert_eq!(deployed(&cluster), before);

    let release = message.rsplit(' ').next().unwrap();
    cluster.kubectl(&["annotate", "infd/m", release, "--namespace", "shop"]);
    await_until("the release", || deployed(&cluster) == (before.0 + 1, SECOND_IMAGE.to_owned()));
    await_until("nothing to wait", || condition(&cluster, "m", "TemplateUpdatePending").is_none());
    await_ready(&cluster, "m", "1/1");
    let revisions = children(&cluster, "m").into_iter().filter(|name| name.starts_with("controllerrevision"));
    assert_eq!(revisions.count(), 1);
}

fn await_leader(cluster: &Cluster, identity: &str) {
    await_until(&format!("{identity} to lead"), || {
        let words = ["get", "lease/ostro-operator", "--namespace", "default", "--output", "json"];
        let lease: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
        let holder = lease["spec"]["holderIdentity"].as_str();
        holder.and_then(|holder| holder.split('_').next()) == Some(identity)
    });
}
