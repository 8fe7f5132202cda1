//! The chart's rules beside the rights that the operator's calls demand: neither has more than the other.

use std::collections::BTreeSet;
use std::fs;

use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use ostro_crds::InferenceDeployment;

use super::fake_api::Right;
use super::ownership::disown;
use super::revisions::{hide_revision, uid};
use super::*;
use crate::inference_deployment::build::{ChildKind, MANAGED_BY};
use crate::leader::Leader;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ostro-operator");
const LONG: Duration = Duration::from_secs(60);

fn rules(file: &str) -> Vec<PolicyRule> {
    let path = format!("{CHART}/files/{file}");
    serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
}

/// Each right of the rules by itself.
fn granted(rules: &[PolicyRule]) -> BTreeSet<Right> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut rights = BTreeSet::new();
    for rule in rules {
        let names = list(&rule.resource_names).into_iter().map(Some).collect::<Vec<_>>();
        let names = if names.is_empty() { vec![None] } else { names };
        for group in list(&rule.api_groups) {
            for resource in list(&rule.resources) {
                for verb in &rule.verbs {
                    let right =
                        |name: &Option<String>| (group.clone(), resource.clone(), verb.clone(), name.clone());
                    rights.extend(names.iter().map(right));
                }
            }
        }
    }
    rights
}

fn full() -> Value {
    json!({
        "replicas": 2, "cache": { "volume": { "size": "1Gi" } }, "networkPolicy": { "enabled": true },
        "monitoring": { "labels": { "release": "prometheus" } },
    })
}

/// Leads, makes all that an object can want, and prunes all that the operator ever prunes.
async fn work(api: &FakeApi, scope: Scope) -> Operator {
    let client = api.client(&Metrics::new());
    let mut leader = Leader::new(client, "n", "a");
    leader.acquire(&Readiness::default()).await;
    leader.acquire(&Readiness::default()).await;
    leader.release().await;
    api.set_monitoring(true);
    let operator = Operator::start(api, scope.clone());
    put(api, full());
    let has_deployment = || api.get("apps", "deployments", "m").is_some();
    await_within(LONG, "the Deployment", has_deployment).await;
    tokio::time::sleep(LONG).await;
    drop(operator);
    hide_revision(api, &uid(api));
    hide_configuration(api);
    let operator = Operator::start(api, scope);
    await_within(LONG, "the Deployment again", has_deployment).await;
    await_within(LONG, "the monitor", || api.get("monitoring.coreos.com", "servicemonitors", "m").is_some())
        .await;
    put(api, json!({ "monitoring": { "kind": "PodMonitor" }, "serviceAccountName": "mine" }));
    await_within(LONG, "the other", || api.get("monitoring.coreos.com", "podmonitors", "m").is_some()).await;
    await_within(LONG, "no account", || {
        make_ready(api);
        api.get("", "serviceaccounts", "m").is_none()
    })
    .await;
    put(api, json!({ "cache": { "volume": { "size": "1Gi", "perReplica": true } } }));
    await_within(LONG, "the other workload", || api.get("apps", "deployments", "m").is_none()).await;
    let other = json!([{ "modelId": "c/d" }]);
    put(api, json!({ "cache": { "volume": { "size": "1Gi" }, "prefetch": true }, "models": other }));
    await_within(LONG, "the Job", || !api.all("batch", "jobs").is_empty()).await;
    for kind in kinds() {
        leave_behind(api, kind);
    }
    // Accounts stay until pods are ready.
    let kept = [ChildKind::PersistentVolumeClaim, ChildKind::ServiceAccount];
    await_within(LONG, "pruning", || kinds().all(|kind| is_left(api, kind) == kept.contains(&kind))).await;
    tell_twice(api, &operator).await;
    disown(api, (ChildKind::Service, api.get("", "services", "m").unwrap()));
    tokio::time::sleep(LONG).await;
    operator
}

/// As it is where a cache lags: an apply finds it.
fn hide_configuration(api: &FakeApi) {
    let mut config = api.get("", "configmaps", &configs(api)[0]).unwrap();
    config["metadata"]["labels"].as_object_mut().unwrap().remove(MANAGED_BY).unwrap();
    api.put("", "configmaps", config);
}

fn kinds() -> impl Iterator<Item = ChildKind> {
    ChildKind::ALL.into_iter().chain(ChildKind::OPTIONAL)
}

/// What an older operator may have made, under a name that is not in use any more.
fn leave_behind(api: &FakeApi, kind: ChildKind) {
    let owner = api.get(GROUP, "inferencedeployments", "m").unwrap();
    let owner: InferenceDeployment = serde_json::from_value(owner).unwrap();
    let resource = kind.resource();
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": {
            "name": "old", "namespace": "n", "labels": { MANAGED_BY: "ostro-operator" },
            "ownerReferences": [owner.controller_owner_ref(&())],
        },
    });
    api.put(&resource.group, &resource.plural, object);
}

fn is_left(api: &FakeApi, kind: ChildKind) -> bool {
    let resource = kind.resource();
    api.get(&resource.group, &resource.plural, "old").is_some()
}

/// An event that comes again becomes a series.
async fn tell_twice(api: &FakeApi, operator: &Operator) {
    let owner = api.get(GROUP, "inferencedeployments", "m").unwrap();
    let owner: InferenceDeployment = serde_json::from_value(owner).unwrap();
    for _ in 0..2 {
        let event = Event {
            type_: EventType::Normal,
            reason: "Again".to_owned(),
            note: None,
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        operator.context.recorder.publish(&event, &owner.object_ref(&())).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_chart_grants_what_the_operator_does_and_no_more() {
    let api = FakeApi::default();
    let _operator = work(&api, Scope::Cluster).await;
    let is_lease = |right: &Right| right.1 == "leases";
    // Rules name no objects but the lease.
    let demanded: BTreeSet<Right> = api
        .rights()
        .into_iter()
        .map(|right| if is_lease(&right) { right } else { (right.0, right.1, right.2, None) })
        .collect();
    let (of_leader, of_objects) = demanded.into_iter().partition::<BTreeSet<Right>, _>(is_lease);
    assert_alike(&granted(&rules("leader-rules.yaml")), &of_leader);
    assert_alike(&granted(&rules("rules.yaml")), &of_objects);
}

fn assert_alike(granted: &BTreeSet<Right>, demanded: &BTreeSet<Right>) {
    let needless: Vec<&Right> = granted.difference(demanded).collect();
    let refused: Vec<&Right> = demanded.difference(granted).collect();
    assert!(
        needless.is_empty() && refused.is_empty(),
        "never used: {needless:#?}\nnot granted: {refused:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn in_a_namespace_every_call_stays_there() {
    let api = FakeApi::default();
    let _operator = work(&api, Scope::Namespace("n".to_owned())).await;
    assert_eq!(api.namespaces(), [Some("n".to_owned())].into());
}

/// Both forms of the chart, ClusterRole and Role, have the rules of the files.
#[test]
fn the_chart_has_no_other_rules() {
    let template = fs::read_to_string(format!("{CHART}/templates/rbac.yaml")).unwrap();
    let rules: Vec<&str> = template.lines().filter(|line| line.starts_with("rules:")).collect();
    let file = |name: &str| format!(r#"rules: {{{{- .Files.Get "files/{name}" | nindent 0 }}}}"#);
    assert_eq!(rules, [file("leader-rules.yaml"), file("rules.yaml")]);
    assert!(!template.contains("apiGroups"), "{template}");
}
