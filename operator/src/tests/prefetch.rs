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
    let mut jobs = api.all("batch", "jobs");
    assert!(jobs.len() <= 1, "{jobs:?}");
    jobs.pop()
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

/// The Job's controller, and the kubelet.
fn put_pod(api: &FakeApi, state: Value) {
    let job = job(api).unwrap();
    let template = &job["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = "loader".into();
    metadata["namespace"] = "n".into();
    metadata["ownerReferences"] = json!([
        { "apiVersion": "batch/v1", "kind": "Job", "name": name_of(&job), "uid": "j", "controller": true },
    ]);
    let status = json!({ "name": "ostro", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state });
    let status = json!({ "phase": "Running", "containerStatuses": [status] });
    api.put("", "pods", json!({ "metadata": metadata, "spec": template["spec"], "status": status }));
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
    put(&api, spec("a/b"));
    await_within(SOON, "the Job", || job(&api).is_some()).await;
    finish(&api);
    await_within(SOON, "the Deployment", || runs(&api).is_some()).await;
    make_ready(&api);
    await_within(SOON, "pods", || told(&api, "Ready") == "True AllReady").await;
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
