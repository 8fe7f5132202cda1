//! Models that a Job downloads before pods start.

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn spec(model: &str) -> Value {
    json!({
        "models": [{ "modelId": model }], "cache": { "volume": { "size": "1Gi" }, "prefetch": true },
        "resources": { "limits": { "nvidia.com/gpu": "1" } },
    })
}

fn job(api: &FakeApi) -> Option<Value> {
    let (mut jobs, mut done): (Vec<Value>, Vec<Value>) =
        api.all("batch", "jobs").into_iter().partition(|job| job["status"].is_null());
    assert!(jobs.len() <= 1, "{jobs:?}");
    jobs.pop().or(done.pop())
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

/// The Job's controller, and the kubelet.
fn put_pod(api: &FakeApi, state: Value) {
    put_pod_in(api, "Running", state);
}

fn put_pod_in(api: &FakeApi, phase: &str, state: Value) {
    put_pod_of_job(api, &job(api).unwrap(), (phase, state));
}

fn finish(api: &FakeApi) {
    let mut job = job(api).unwrap();
    job["status"] = json!({ "conditions": [
        { "type": "SuccessCriteriaMet", "status": "True" }, { "type": "Complete", "status": "True", "message": "" },
    ] });
    api.put("batch", "jobs", job);
}

fn runs(api: &FakeApi) -> Option<String> {
    let deployment = api.get("apps", "deployments", "m")?;
    Some(
        deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
            .as_str()
            .unwrap()
            .to_owned(),
    )
}

/// An object whose models are there, and whose pods are ready.
async fn serve(api: &FakeApi) {
    put(api, spec("a/b"));
    await_within(SOON, "the Job", || job(api).is_some()).await;
    finish(api);
    await_within(SOON, "the Deployment", || runs(api).is_some()).await;
    make_ready(api);
    await_within(SOON, "pods", || told(api, "Ready") == "True AllReady").await;
}

#[tokio::test(start_paused = true)]
async fn pods_start_when_the_models_are_there() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, spec("a/b"));
    await_within(SOON, "the Job", || told(&api, "Ready") == "False Prefetching").await;
    assert!(job(&api).is_some() && runs(&api).is_none() && api.all("apps", "controllerrevisions").is_empty());
    let message = condition(&api, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&name_of(&job(&api).unwrap())), "{message}");
    // It is the one for as long as it is not done, also for an operator that begins.
    tokio::time::sleep(Duration::from_secs(1500)).await;
    drop(_operator);
    let first = name_of(&job(&api).unwrap());
    let _operator = Operator::start(&api, Scope::Cluster);
    tokio::time::sleep(SOON).await;
    assert_eq!((name_of(&job(&api).unwrap()), runs(&api)), (first, None));
    finish(&api);
    await_within(SOON, "the Deployment", || runs(&api).is_some()).await;
    await_within(SOON, "no Job", || job(&api).is_none()).await;
    make_ready(&api);
    await_within(SOON, "pods", || told(&api, "Ready") == "True AllReady").await;
    tokio::time::sleep(Duration::from_secs(1500)).await;
    assert!(job(&api).is_none());
}

#[tokio::test(start_paused = true)]
async fn pods_of_before_go_on_until_then_and_scale() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    serve(&api).await;
    let before = runs(&api);
    let mut next = spec("c/d");
    next["replicas"] = 2.into();
    put(&api, next);
    await_within(SOON, "the next Job", || told(&api, "Ready") == "False Prefetching").await;
    assert_eq!(runs(&api), before);
    assert_eq!(configs(&api).len(), 2, "one that pods read, and one that the Job's do");
    assert_eq!(api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"], 2);
    make_ready(&api);
    tokio::time::sleep(SOON).await;
    assert_eq!(told(&api, "Ready"), "False Prefetching");
    assert_eq!(told(&api, "Available"), "True SomeReady");

    // Taken back: nothing is to be downloaded.
    let mut back = spec("a/b");
    back["replicas"] = 2.into();
    put(&api, back);
    await_within(SOON, "no Job", || job(&api).is_none()).await;
    await_within(SOON, "pods", || told(&api, "Ready") == "True AllReady").await;
    assert_eq!(configs(&api).len(), 1);

    put(&api, spec("c/d"));
    await_within(SOON, "the Job again", || job(&api).is_some()).await;
    finish(&api);
    await_within(SOON, "other pods", || runs(&api) != before).await;
}

#[tokio::test(start_paused = true)]
async fn what_keeps_the_download_is_told() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, spec("a/b"));
    await_within(SOON, "the Job", || job(&api).is_some()).await;
    put_pod(&api, json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } }));
    await_within(SOON, "the image", || told(&api, "Ready") == "False ImagePullFailed").await;
    put_pod(&api, json!({ "running": {} }));
    await_within(SOON, "the download", || told(&api, "Ready") == "False Prefetching").await;
    // The pod is no pod of the daemon.
    assert_eq!(told(&api, "Available"), "False NoneReady");
    // Another spec, another Job: what the pod of before suffers from is not told of it.
    put_pod(&api, json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } }));
    await_within(SOON, "the image", || told(&api, "Ready") == "False ImagePullFailed").await;
    put(&api, spec("c/d"));
    await_within(SOON, "the download", || told(&api, "Ready") == "False Prefetching").await;
}

/// The Job's controller says so a second after the kubelet.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_done_is_no_failure() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, spec("a/b"));
    await_within(SOON, "the Job", || job(&api).is_some()).await;
    for phase in ["Running", "Succeeded"] {
        put_pod_in(
            &api,
            phase,
            json!({ "terminated": { "exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z" } }),
        );
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(told(&api, "Ready"), "False Prefetching");
        }
    }
    put_pod(&api, json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }));
    await_within(SOON, "memory", || told(&api, "Ready") == "False HostOutOfMemory").await;
    let message = condition(&api, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("512 MiB"), "{message}");
    put_pod(&api, json!({ "terminated": { "exitCode": 137 } }));
    await_within(SOON, "a kill", || told(&api, "Ready") == "False CrashLoop").await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_is_told_and_anothers_is_not_taken() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, spec("a/b"));
    await_within(SOON, "the Job", || job(&api).is_some()).await;
    let mut failed = job(&api).unwrap();
    failed["status"] =
        json!({ "conditions": [{ "type": "Failed", "status": "True", "message": "too old" }] });
    api.put("batch", "jobs", failed);
    await_within(SOON, "the failure", || told(&api, "Ready") == "False PodFailed").await;
    // Of an object of this name that was there before.
    let mut others = job(&api).unwrap();
    others["metadata"]["ownerReferences"][0]["uid"] = "other".into();
    others["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
    api.put("batch", "jobs", others);
    tokio::time::sleep(SOON).await;
    assert!(runs(&api).is_none());
}

/// It was written down before it was refused.
#[tokio::test(start_paused = true)]
async fn a_workload_that_is_refused_keeps_no_download_from_what_comes_after() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    serve(&api).await;
    let before = runs(&api);
    put(&api, spec("c/d"));
    await_within(SOON, "the next Job", || told(&api, "Ready") == "False Prefetching").await;
    api.refuse("deployments");
    finish(&api);
    await_within(SOON, "a refusal", || told(&api, "Ready") == "False ApplyFailed").await;
    assert_eq!(runs(&api), before);
    put(&api, spec("a/b"));
    await_within(Duration::from_secs(300), "the way back", || told(&api, "Ready") == "False Prefetching")
        .await;
    finish(&api);
    api.refuse("nothing");
    await_within(Duration::from_secs(300), "pods", || told(&api, "Ready") == "True AllReady").await;
    assert_eq!(runs(&api), before);
}
