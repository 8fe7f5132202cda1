//! Caches from which a Job removes what pods do not need.

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn spec(model: &str, prune: bool) -> Value {
    json!({ "models": [{ "modelId": model }], "cache": { "volume": { "size": "1Gi" }, "prune": prune } })
}

fn job(api: &FakeApi) -> Option<Value> {
    let mut jobs = api.all("batch", "jobs");
    assert!(jobs.len() <= 1, "{jobs:?}");
    jobs.pop()
}

fn name(api: &FakeApi) -> Option<String> {
    Some(job(api)?["metadata"]["name"].as_str()?.to_owned())
}

fn end(api: &FakeApi, kind: &str) {
    let mut job = job(api).unwrap();
    job["status"] = json!({ "conditions": [{ "type": kind, "status": "True", "message": "as it is" }] });
    api.put("batch", "jobs", job);
}

/// The only one, which waits for `reason`, or has ended.
fn put_pod(api: &FakeApi, reason: &str, ended: Value) {
    let said = match ended.is_null() {
        true => ("Pending", json!({ "waiting": { "reason": reason } })),
        false => ("Failed", json!({ "terminated": ended })),
    };
    put_pod_of_job(api, &job(api).unwrap(), said);
}

/// Until its pods are ready, and a moment longer.
async fn roll_out(api: &FakeApi, spec: Value) {
    put(api, spec);
    await_within(SOON, "pods to be wanted", || told(api, "Ready") == "False RollingOut").await;
    make_ready(api);
    await_within(SOON, "pods", || told(api, "Ready") == "True AllReady").await;
    tokio::time::sleep(SOON).await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_pruned_once_after_each_rollout() {
    let api = FakeApi::default();
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, spec("a/b", true));
    tokio::time::sleep(SOON).await;
    assert!(job(&api).is_none(), "pods are not there yet");
    make_ready(&api);
    await_within(SOON, "the Job", || told(&api, "CachePruned") == "False Pruning").await;
    let first = name(&api).unwrap();
    assert_eq!(told(&api, "Ready"), "True AllReady");
    end(&api, "Complete");
    await_within(SOON, "its end", || told(&api, "CachePruned") == "True CachePruned").await;

    // It stays, whatever pods do, and for another operator.
    let deployment = api.get("apps", "deployments", "m").unwrap();
    let mut unready = deployment.clone();
    unready["status"]["readyReplicas"] = 0.into();
    api.put("apps", "deployments", unready);
    await_within(SOON, "pods to go", || told(&api, "Ready") == "False RollingOut").await;
    assert_eq!(told(&api, "CachePruned"), "True CachePruned");
    api.put("apps", "deployments", deployment);
    await_within(SOON, "pods again", || told(&api, "Ready") == "True AllReady").await;
    tokio::time::sleep(SOON).await;
    drop(operator);
    let _operator = Operator::start(&api, Scope::Cluster);
    let writes = api.writes();
    tokio::time::sleep(Duration::from_secs(1500)).await;
    assert_eq!((name(&api), api.writes()), (Some(first.clone()), writes));

    // Not while pods of before may need what they have.
    put(&api, spec("c/d", true));
    await_within(SOON, "no Job", || job(&api).is_none()).await;
    assert_eq!(told(&api, "CachePruned"), "");
    make_ready(&api);
    await_within(SOON, "the next Job", || job(&api).is_some()).await;
    assert_ne!(name(&api), Some(first));

    roll_out(&api, spec("e/f", false)).await;
    assert!(job(&api).is_none() && told(&api, "CachePruned").is_empty());
}

/// The pods of a Job that has ended keep the claim.
#[tokio::test(start_paused = true)]
async fn a_job_goes_with_its_claim() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    roll_out(&api, spec("a/b", true)).await;
    end(&api, "Complete");
    await_within(SOON, "its end", || told(&api, "CachePruned") == "True CachePruned").await;
    let claim = api.get("", "persistentvolumeclaims", "m-cache").unwrap();
    let mut going = claim.clone();
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    api.put("", "persistentvolumeclaims", going);
    await_within(SOON, "no Job", || job(&api).is_none()).await;
    api.remove("", "persistentvolumeclaims", "m-cache");
    await_within(SOON, "a Job for the next claim", || job(&api).is_some()).await;
}

/// What pods of before do not need, others may.
#[tokio::test(start_paused = true)]
async fn others_start_when_a_prune_of_before_has_ended() {
    for prefetch in [false, true] {
        let api = FakeApi::default();
        let _operator = Operator::start(&api, Scope::Cluster);
        roll_out(&api, spec("a/b", true)).await;
        let before = api.get("apps", "deployments", "m").unwrap()["spec"].clone();
        let mut going = job(&api).unwrap();
        going["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        let name = name(&api).unwrap();
        api.put("batch", "jobs", going);
        let mut next = spec("c/d", true);
        next["cache"]["prefetch"] = prefetch.into();
        put(&api, next);
        let ready = || condition(&api, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
        await_within(SOON, "the wait to be told", || ready().contains(&format!("Job {name}, which"))).await;
        tokio::time::sleep(Duration::from_secs(1500)).await;
        assert_eq!(api.get("apps", "deployments", "m").unwrap()["spec"], before);
        assert_eq!(self::name(&api), Some(name.clone()));
        api.remove("batch", "jobs", &name);
        let has_begun = || match prefetch {
            true => self::name(&api).is_some_and(|name| name.starts_with("m-prefetch-")),
            false => api.get("apps", "deployments", "m").unwrap()["spec"] != before,
        };
        await_within(SOON, "what comes after", has_begun).await;
    }
}

/// A person may delete the Job in another way than the operator does, while its pod goes on.
#[tokio::test(start_paused = true)]
async fn others_wait_for_a_pod_whose_job_is_gone() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    roll_out(&api, spec("a/b", true)).await;
    let before = api.get("apps", "deployments", "m").unwrap()["spec"].clone();
    put_pod_of_job(&api, &job(&api).unwrap(), ("Running", json!({ "running": {} })));
    api.remove("batch", "jobs", &name(&api).unwrap());
    put(&api, spec("c/d", true));
    let ready = || condition(&api, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    await_within(SOON, "the wait to be told", || ready().contains("pod worker, which removes")).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(api.get("apps", "deployments", "m").unwrap()["spec"], before);
    api.remove("", "pods", "worker");
    let is_rolled_out = || api.get("apps", "deployments", "m").unwrap()["spec"] != before;
    await_within(SOON, "what comes after", is_rolled_out).await;
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_fails_is_told_and_made_anew_when_a_person_says_so() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    roll_out(&api, spec("a/b", true)).await;
    let message = || condition(&api, "CachePruned").unwrap()["message"].as_str().unwrap().to_owned();
    put_pod(&api, "ErrImagePull", Value::Null);
    await_within(SOON, "what keeps it", || message().contains("cannot pull")).await;
    assert_eq!(told(&api, "CachePruned"), "False Pruning");
    let ended =
        json!({ "exitCode": 1, "message": "error: cannot prune", "finishedAt": "2026-01-01T00:00:00Z" });
    put_pod(&api, "", ended);
    await_within(SOON, "its words", || {
        message().contains("yet: the daemon ended with code 1: error: cannot prune")
    })
    .await;
    end(&api, "Failed");
    await_within(SOON, "the failure", || told(&api, "CachePruned") == "False PruneFailed").await;
    let words = "failed: the daemon ended with code 1: error: cannot prune; see kubectl logs job/m-prune-";
    assert!(message().contains(words), "{}", message());
    assert_eq!(told(&api, "Ready"), "True AllReady");
    tokio::time::sleep(Duration::from_secs(1500)).await;
    assert!(job(&api).unwrap()["status"]["conditions"].is_array(), "it is not begun again");
    api.remove("batch", "jobs", &name(&api).unwrap());
    await_within(SOON, "another", || job(&api).is_some_and(|job| job["status"].is_null())).await;
}
