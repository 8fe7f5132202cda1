mod children;

use serde_json::{Value, json};

use super::super::diff::diff;
use super::super::fake_api::{Asked, FakeApi, cluster, no_api};
use super::*;
use crate::inference_deployment::build::inputs_hash;

const OBJECTS: &str = "/apis/inference.ostro.dev/v1alpha1/namespaces/shop/inferencedeployments";

fn object(spec: Value) -> InferenceDeployment {
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "shop", "uid": "u", "generation": 1 }, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn spec(fields: Value) -> Value {
    let mut spec = json!({ "models": [{ "modelId": "a/b" }], "image": "ostro:1" });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

fn kept(owner: &InferenceDeployment) -> Kept {
    let valid = owner.spec.validate().unwrap();
    let rendering = render(owner, &valid, &Defaults { image: "unused".to_owned() }).unwrap();
    Kept { rendering, spec_hash: inputs_hash(&owner.spec), number: 1 }
}

/// The object and its children, as the operator applied them.
fn applied(owner: &InferenceDeployment) -> Vec<(String, Value)> {
    let prepared = build(owner, &kept(owner));
    prepared.iter().map(with_path).chain([(format!("{OBJECTS}/m"), json!(owner))]).collect()
}

fn with_path(prepared: &Prepared) -> (String, Value) {
    let resource = prepared.kind.resource();
    let root = match resource.group.as_str() {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}/v1"),
    };
    let path = format!("{root}/namespaces/shop/{}/{}", resource.plural, prepared.object.name_any());
    (path, json!(prepared.object))
}

fn api(objects: &[(String, Value)]) -> FakeApi {
    let objects: Vec<(&str, Value)> =
        objects.iter().map(|(path, object)| (path.as_str(), object.clone())).collect();
    FakeApi::with(&objects)
}

async fn report(api: &FakeApi, spec: Value) -> String {
    let plan = plan_file(&cluster(api.clone()), object(spec), None).await.unwrap();
    report::text("shop", &plan.changes)
}

/// With names by content cut short: hashes are tested for what they do.
fn unhashed(text: &str) -> String {
    let is_revision = |line: &&str| line.contains("ControllerRevision m-");
    let lines = text.lines().filter(|line| !is_revision(line)).collect::<Vec<_>>().join("\n");
    let mut parts = lines.split("m-config-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, rest| all + "m-config-…" + &rest[16..])
}

async fn check(spec: Value, expected: &str) {
    let api = api(&applied(&object(self::spec(json!({})))));
    let text = report(&api, spec).await;
    assert_eq!(unhashed(&text), expected);
    let writes: Vec<Asked> = api.asked().into_iter().filter(|asked| !asked.line.starts_with("GET")).collect();
    assert!(writes.iter().all(|asked| asked.line.contains("dryRun=All")), "{writes:?}");
}

#[tokio::test]
async fn a_plan_tells_fields_and_restarts() {
    check(
        spec(json!({})),
        "namespace shop
= InferenceDeployment m
= ServiceAccount m
= ConfigMap m-config-…
= Service m
= Deployment m

no pod restarts",
    )
    .await;
    check(
        spec(json!({ "runtime": { "maxSeqs": 8 } })),
        "namespace shop
~ InferenceDeployment m
    spec.runtime: added {\"maxSeqs\":8}
= ServiceAccount m
+ ConfigMap m-config-…
    data[\"ostro.toml\"]:
      + [runtime]
      + max_seqs = 8
      +
= Service m
~ Deployment m
    spec.template.spec.volumes[config].configMap.name: \"m-config-…\" -> \"m-config-…\"
- ConfigMap m-config-…

1 pod of Deployment m restart, since these of their template change:
    spec.volumes[config].configMap.name (the daemon's configuration)",
    )
    .await;
    check(
        spec(json!({ "replicas": 3 })),
        "namespace shop
~ InferenceDeployment m
    spec.replicas: added 3
= ServiceAccount m
= ConfigMap m-config-…
= Service m
+ PodDisruptionBudget m
~ Deployment m
    spec.replicas: 1 -> 3

no pod restarts
Deployment m goes from 1 to 3 replicas",
    )
    .await;
}

#[test]
fn names_of_a_file_stay_inside_of_a_url() {
    let check = |field: &str, value: &str, expected: &str| {
        let mut object = json!(object(spec(json!({}))));
        object["metadata"][field] = value.into();
        let found = check_names(&serde_json::from_value(object).unwrap()).map_err(|error| error.to_string());
        assert!(found.clone().err().unwrap_or_default().starts_with(expected), "{found:?}");
        assert_eq!(found.is_ok(), expected.is_empty(), "{found:?}");
    };
    check("name", "m.n", "");
    check("name", "../x", "metadata.name \"../x\": a name has");
    check("namespace", "x?y=z", "metadata.namespace \"x?y=z\": a namespace has");
}

#[test]
fn no_text_of_an_object_steers_the_terminal() {
    let (old, new) = (json!({ "a": "x" }), json!({ "a": "\u{1b}[2J\u{9b}", "b": [{ "name": "c\nd" }] }));
    let lines = json!({ "t": "x\ny\u{1b}[2J\n" });
    for (old, new, expected) in [
        (&old, &new, "    a: \"x\" -> \"\\u001b[2J\\u{9b}\"\n    b: added "),
        (&json!({ "t": "x\n" }), &lines, "    t:\n      + y\\u{1b}[2J\n"),
        (&json!({ "b": [{ "name": "c\nd", "value": 1 }] }), &new, "    b[c\\nd].value: removed 1\n"),
    ] {
        let what = What::Changed(diff(old, new));
        let change = Change { kind: "ConfigMap".to_owned(), name: "m".to_owned(), what, replicas: None };
        let text = report::text("shop", &[change]);
        assert!(text.contains(expected), "{text:?}");
    }
}

#[tokio::test]
async fn another_kind_of_workload_starts_all_pods_anew() {
    let volume = |own: bool| json!({ "cache": { "volume": { "size": "1Gi", "perReplica": own } } });
    let api = api(&applied(&object(spec(volume(false)))));
    let text = report(&api, spec(volume(true))).await;
    for line in [
        "+ StatefulSet m",
        "+ Service m-headless",
        "- Deployment m",
        "pods of StatefulSet m start: it is new",
        "1 pod of Deployment m end: it is deleted",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    assert!(!text.contains("- PersistentVolumeClaim"), "{text}");
}

#[tokio::test]
async fn a_download_before_pods_is_told() {
    let with = |model: &str| {
        let cache = json!({ "volume": { "size": "1Gi" }, "prefetch": true });
        object(spec(json!({ "models": [{ "modelId": model }], "cache": cache })))
    };
    let cluster = cluster(api(&applied(&with("a/b"))));
    let plan = plan_object(&cluster, &with("c/d"), None).await.unwrap();
    assert!(plan.notes[0].starts_with("pods change when Job m-prefetch-"), "{:?}", plan.notes);
    let job = plan.changes.iter().find(|change| change.kind == "Job").unwrap();
    assert_eq!(job.what, What::Created);
    let plan = plan_object(&cluster, &with("a/b"), None).await.unwrap();
    assert!(plan.notes.is_empty() && plan.changes.iter().all(|change| change.kind != "Job"));
}

#[tokio::test]
async fn a_job_on_the_cache_is_there_once_pods_are() {
    let with = |model: &str| {
        let cache = json!({ "volume": { "size": "1Gi" }, "prune": true });
        object(spec(json!({ "models": [{ "modelId": model }], "cache": cache })))
    };
    let jobs = |plan: &Plan| -> Vec<What> {
        plan.changes.iter().filter(|change| change.kind == "Job").map(|change| change.what.clone()).collect()
    };
    let owner = with("a/b");
    let cluster = cluster(api(&applied(&owner)));
    let plan = plan_object(&cluster, &owner, None).await.unwrap();
    assert!(plan.notes[0].starts_with("when all pods are of this spec, Job m-prune-"), "{:?}", plan.notes);
    assert_eq!(jobs(&plan), []);
    let mut all = applied(&owner);
    all.extend(prune_job(&owner, &kept(&owner)).as_ref().map(with_path));
    let cluster = self::cluster(api(&all));
    let plan = plan_object(&cluster, &owner, None).await.unwrap();
    assert_eq!((jobs(&plan), plan.notes.len()), (vec![What::Unchanged], 0));
    let plan = plan_object(&cluster, &with("c/d"), None).await.unwrap();
    assert_eq!((jobs(&plan), plan.notes.len()), (vec![What::Deleted], 1));
}

/// Where the API server's own rule saw two changes that it allows.
#[tokio::test]
async fn claims_that_cannot_change_are_named() {
    let own =
        |size: &str| object(spec(json!({ "cache": { "volume": { "size": size, "perReplica": true } } })));
    let cluster = cluster(api(&applied(&own("1Gi"))));
    let error = plan_object(&cluster, &own("2Gi"), None).await.unwrap_err().to_string();
    assert!(error.contains("spec.cache.volume cannot change while perReplica is true"), "{error}");
    plan_object(&cluster, &own("1Gi"), None).await.unwrap();
}

#[tokio::test]
async fn everything_of_a_new_object_is_created() {
    let text = report(&FakeApi::new(), spec(json!({}))).await;
    assert!(text.contains("\n+ ControllerRevision m-"), "{text}");
    assert_eq!(
        unhashed(&text),
        "namespace shop
+ InferenceDeployment m
+ ServiceAccount m
+ ConfigMap m-config-…
+ Service m
+ Deployment m

pods of Deployment m start: it is new"
    );
}

#[tokio::test]
async fn a_monitor_is_left_out_where_its_api_is_missing() {
    let wanted = spec(json!({ "monitoring": {} }));
    let there = report(&FakeApi::new(), wanted.clone()).await;
    assert!(there.contains("+ ServiceMonitor m\n"), "{there}");
    let rest = FakeApi::new();
    let lacking = FakeApi::answering(move |asked| {
        if asked.line.contains("monitoring.coreos.com") { no_api() } else { rest.handle(asked.clone()) }
    });
    let plan = plan_file(&cluster(lacking), object(wanted), None).await.unwrap();
    assert!(plan.changes.iter().all(|change| change.kind != "ServiceMonitor"), "{:?}", plan.changes);
    assert!(plan.notes.contains(&"ServiceMonitor m is left out: the cluster has no such API".to_owned()));
}

#[tokio::test]
async fn the_default_image_is_the_operators() {
    let mut owner = object(json!({ "models": [{ "modelId": "a/b" }] }));
    let image = async |owner: &InferenceDeployment| {
        let cluster = cluster(api(&[(format!("{OBJECTS}/m"), json!(owner))]));
        let mut plan = Plan::default();
        (default_image(&cluster, owner, &mut plan).await.unwrap(), plan.notes.len())
    };
    assert_eq!(image(&owner).await, (DEFAULT_IMAGE.to_owned(), 1));
    owner.status =
        Some(serde_json::from_value(json!({ "observedGeneration": 1, "image": "here:1" })).unwrap());
    assert_eq!(image(&owner).await, ("here:1".to_owned(), 0));
    // Of pods that an upgrade of the operator left as they are, and of pods that were patched.
    let waits = json!({
        "type": "TemplateUpdatePending", "status": "True", "reason": "OperatorUpgraded", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let mut held = json!(owner);
    held["status"]["conditions"] = json!([waits]);
    let refused = json!({ "type": "Ready", "status": "False", "reason": "InvalidConfig", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let mut before = json!(owner);
    before["status"]["conditions"] = json!([refused]);
    let mut patched = json!(owner);
    patched["spec"]["podTemplatePatch"] =
        json!({ "spec": { "containers": [{ "name": "ostro", "image": "x" }] } });
    for other in [held, before, patched] {
        let other: InferenceDeployment = serde_json::from_value(other).unwrap();
        assert_eq!(image(&other).await, (DEFAULT_IMAGE.to_owned(), 1));
    }
    owner.metadata.generation = Some(2);
    assert_eq!(image(&owner).await.1, 1);
}
