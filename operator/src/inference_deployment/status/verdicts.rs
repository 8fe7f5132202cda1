//! What Argo CD, Flux and kstatus say of every kind of status, by the files that the chart ships.

use std::collections::BTreeMap;

use kube::core::cel::cel::{Context, Program, Value as CelValue, to_value};
use mlua::{Lua, LuaSerdeExt, Table};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tests::{deployment, owner, status};
use super::*;

const ARGO_CD: &str = include_str!("../../../../charts/ostro-operator/files/argocd-health.lua");
const FLUX: &str = include_str!("../../../../charts/ostro-operator/files/flux-health.yaml");
const PAGE: &str = include_str!("../../../../docs/gitops.md");

/// An object, and what each tool should say of it.
struct Case {
    name: &'static str,
    object: Value,
    argo_cd: &'static str,
    flux: &'static str,
    kstatus: &'static str,
}

/// The object that `status()` writes for these replicas.
fn object(replicas: i32, deployment: Option<&Workload>, reason: Option<Reason>) -> Value {
    let owner = owner(replicas);
    let cause = reason.map(|reason| Cause { reason, message: "why".to_owned() });
    let status = status(&owner, deployment, cause);
    let mut object = serde_json::to_value(&owner).unwrap();
    object["status"] = serde_json::to_value(&status).unwrap();
    object
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object["metadata"][field] = value;
    object
}

fn cases() -> Vec<Case> {
    let case = |name, object, [argo_cd, flux, kstatus]: [&'static str; 3]| Case {
        name,
        object,
        argo_cd,
        flux,
        kstatus,
    };
    let started = |ready| deployment(2, 2, 2, ready, true);
    let degraded = |reason| object(2, Some(&started(0)), Some(reason));
    let ready = || object(2, Some(&started(2)), None);
    let waits = ["Progressing", "InProgress", "InProgress"];
    let fails = ["Degraded", "InProgress", "InProgress"];
    let mut unseen = ready();
    unseen.as_object_mut().unwrap().remove("status");
    vec![
        // kstatus cannot know; for Flux the expressions fail, and it goes on waiting.
        case("not yet observed", unseen, ["Progressing", "Unknown", "Current"]),
        case("first status", object(2, None, None), waits),
        case("generation behind", with(ready(), "generation", json!(4)), waits),
        case("rolling out", object(2, Some(&deployment(2, 3, 1, 2, true)), None), waits),
        case("some ready", object(2, Some(&started(1)), None), waits),
        case("ready", ready(), ["Healthy", "Current", "Current"]),
        case(
            "scaled to zero",
            object(0, Some(&deployment(0, 0, 0, 0, true)), None),
            ["Healthy", "Current", "Current"],
        ),
        case("a crash", degraded(Reason::CrashLoop), fails),
        case("a crash beside a ready pod", object(2, Some(&started(1)), Some(Reason::CrashLoop)), fails),
        case("a refused child", degraded(Reason::ApplyFailed), fails),
        case("no node yet", degraded(Reason::Unschedulable), waits),
        case("no volume yet", degraded(Reason::PvcUnbound), waits),
        case("a volume that is not mounted", degraded(Reason::VolumeFailed), waits),
        case("no kubelet yet", degraded(Reason::NodeSilent), waits),
        case("an evicted pod", degraded(Reason::PodFailed), waits),
        case("no such model", degraded(Reason::ModelNotFound), ["Degraded", "Failed", "Failed"]),
        case("a wrong token", degraded(Reason::HfUnauthorized), ["Degraded", "Failed", "Failed"]),
        case("a model that fails beside others", degraded(Reason::ModelFailed), fails),
        case("a bad spec", object(2, None, Some(Reason::InvalidConfig)), ["Degraded", "Failed", "Failed"]),
        case(
            "a bad spec over ready pods",
            object(2, Some(&started(2)), Some(Reason::InvalidConfig)),
            ["Degraded", "Failed", "Failed"],
        ),
        case(
            "deleting",
            with(ready(), "deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            ["Progressing", "InProgress", "Terminating"],
        ),
    ]
}

/// As Argo CD runs it: the object is `obj`, and the script returns a table.
fn argo_cd(object: &Value) -> (String, String) {
    let lua = Lua::new();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let health: Table = lua.load(ARGO_CD).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HealthCheck {
    api_version: String,
    kind: String,
    in_progress: String,
    failed: String,
    current: String,
}

/// As Flux does (RFC 0009): the object's fields are variables, and the first expression that holds counts.
fn flux(checks: &[HealthCheck], object: &Value) -> &'static str {
    let check = checks
        .iter()
        .find(|check| object["apiVersion"] == check.api_version && object["kind"] == check.kind)
        .unwrap();
    let fields: BTreeMap<String, Value> = serde_json::from_value(object.clone()).unwrap();
    let mut context = Context::default();
    for (name, value) in &fields {
        context.add_variable_from_value(name.as_str(), to_value(value).unwrap());
    }
    let expressions =
        [(&check.in_progress, "InProgress"), (&check.failed, "Failed"), (&check.current, "Current")];
    for (expression, verdict) in expressions {
        match Program::compile(expression).unwrap().execute(&context) {
            Ok(CelValue::Bool(true)) => return verdict,
            Ok(CelValue::Bool(false)) => {}
            Ok(other) => panic!("{expression} is {other:?}"),
            Err(_) => return "Unknown",
        }
    }
    "InProgress"
}

#[test]
fn every_status_has_its_verdicts() {
    let checks: Vec<HealthCheck> = serde_saphyr::from_str(FLUX).unwrap();
    for Case { name, object, argo_cd: expected, flux: by_flux, kstatus: by_kstatus } in cases() {
        let (health, message) = argo_cd(&object);
        let verdicts = [health.as_str(), flux(&checks, &object), kstatus::verdict(&object)];
        assert_eq!(verdicts, [expected, by_flux, by_kstatus], "{name}: {object}");
        assert!(!message.is_empty(), "{name}");
    }
}

#[test]
fn argo_cd_shows_what_the_operator_says() {
    let crashed = object(2, Some(&deployment(2, 2, 2, 0, true)), Some(Reason::CrashLoop));
    assert_eq!(argo_cd(&crashed).1, "why");
    let ready = object(2, Some(&deployment(2, 2, 2, 2, true)), None);
    assert_eq!(argo_cd(&ready).1, "all 2 replicas are ready");
    assert_eq!(
        argo_cd(&with(ready, "generation", json!(4))).1,
        "the operator has not seen the latest spec yet"
    );
}

/// Also a status that another version of the operator wrote, or half of one.
#[test]
fn broken_statuses_are_never_good() {
    let checks: Vec<HealthCheck> = serde_saphyr::from_str(FLUX).unwrap();
    let mut ready = object(1, Some(&deployment(1, 1, 1, 1, true)), None);
    for status in [
        json!({}),
        json!({ "conditions": [] }),
        json!({ "observedGeneration": 3 }),
        json!({ "observedGeneration": 3, "conditions": [] }),
        json!({ "observedGeneration": 3, "conditions": [{ "type": "Ready", "status": "Unknown", "message": "" }] }),
        json!({ "conditions": ready["status"]["conditions"] }),
    ] {
        ready["status"] = status.clone();
        assert_eq!(argo_cd(&ready).0, "Progressing", "{status}");
        assert!(["InProgress", "Unknown"].contains(&flux(&checks, &ready)), "{status}");
    }
}

/// The documents of all YAML blocks of docs/gitops.md.
fn documents() -> Vec<Value> {
    let blocks = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| serde_saphyr::from_multiple::<Value>(block).unwrap()).collect()
}

#[test]
fn the_page_shows_what_the_chart_ships() {
    let documents = documents();
    let find = |kind: &str, name: &str| {
        let found = documents.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("docs/gitops.md has no {kind} {name}"))
    };
    let key = "resource.customizations.health.inference.ostro.dev_InferenceDeployment";
    let (heading, script) = ARGO_CD.split_once('\n').unwrap();
    assert!(heading.contains(key), "{heading}");
    assert_eq!(find("ConfigMap", "argocd-cm")["data"][key], script);
    let expressions: Value = serde_saphyr::from_str(FLUX).unwrap();
    assert_eq!(find("Kustomization", "models")["spec"]["healthCheckExprs"], expressions);
}

/// Where Argo CD tracks by label, it puts that name where the chart's ServiceMonitor looks for the release's.
#[test]
fn the_pages_application_has_the_name_of_its_release() {
    let documents = documents();
    let application = documents.iter().find(|one| one["kind"] == "Application").unwrap();
    let sources = application["spec"]["sources"].as_array().unwrap();
    let names: Vec<&Value> = sources.iter().filter_map(|source| source["helm"].get("releaseName")).collect();
    assert_eq!(names, [&application["metadata"]["name"]]);
}
