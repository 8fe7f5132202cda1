//! The state of models, as scripted daemons tell it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use ostro_exposition::Exposition;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::inference_deployment::daemons::{Connection, Dial};

const SOON: Duration = Duration::from_secs(20);

/// Daemons that all give this answer; `None` answers nobody.
#[derive(Clone, Default)]
struct Daemon {
    answer: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Daemon {
    fn says(&self, models: Value) {
        *self.answer.lock().unwrap() = Some(json!({ "data": models }));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn dial(&self) -> Dial {
        let daemon = self.clone();
        Arc::new(move |_| daemon.clone().connect().boxed())
    }

    async fn connect(self) -> std::io::Result<Box<dyn Connection>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = self.answer.lock().unwrap().clone() else { return std::future::pending().await };
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let body = answer.to_string();
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            server.read_u8().await?;
            server.write_all(text.as_bytes()).await?;
            // Kept until the answer is read.
            server.read_to_end(&mut Vec::new()).await
        });
        Ok(Box::new(client))
    }
}

fn put_pod(api: &FakeApi, name: &str, ready: &str) {
    let metadata = pod_metadata(api, name);
    let status = json!({
        "podIP": "10.0.0.7", "conditions": [{ "type": "Ready", "status": ready }],
        "containerStatuses": [{
            "name": "ostro", "image": "", "imageID": "", "restartCount": 0, "ready": ready == "True",
            "containerID": "c", "state": { "running": {} },
        }],
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": { "containers": [{ "name": "ostro", "ports": [{ "name": "http", "containerPort": 1234 }] }] },
        "status": status,
    });
    api.put("", "pods", pod);
}

fn status(api: &FakeApi) -> Value {
    let object = api.get(GROUP, "inferencedeployments", "m").unwrap();
    object["status"].clone()
}

/// An object of two models whose one pod starts.
async fn start(api: &FakeApi, daemon: &Daemon) -> Operator {
    let operator = Operator::start_with(api, Scope::Cluster, daemon.dial());
    put(api, json!({ "models": [{ "modelId": "a/b" }, { "modelId": "/models/c.gguf" }] }));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    put_pod(api, "p", "False");
    operator
}

/// Looks at what is loading do not wait for a monitor, however often that has failed.
#[tokio::test(start_paused = true)]
async fn models_are_followed_beside_a_monitor_that_cannot_be_applied() {
    let (api, daemon) = (FakeApi::default(), Daemon::default());
    api.set_monitoring(true);
    api.refuse("servicemonitors");
    let models = |percent: f64| json!([{ "id": "a/b", "status": "loading", "stage": "download", "progress": percent }]);
    daemon.says(models(0.1));
    let _operator = Operator::start_with(&api, Scope::Cluster, daemon.dial());
    put(&api, json!({ "models": [{ "modelId": "a/b" }], "monitoring": {} }));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    put_pod(&api, "p", "False");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (asked, tries) = (daemon.asked(), api.refusals());
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!((9..=11).contains(&(daemon.asked() - asked)), "asked {} times in 100 s", daemon.asked() - asked);
    assert!(api.refusals() - tries < 20, "{} tries", api.refusals() - tries);
    daemon.says(models(0.5));
    await_within(SOON, "progress", || {
        status(&api)["models"][0]["message"] == "download, 50 %"
            && told(&api, "Monitored") == "False ApplyFailed"
    })
    .await;
}

/// Of one object: it is tried again, and the process goes on.
#[tokio::test(start_paused = true)]
async fn a_reconcile_that_panics_is_an_error_of_its_object() {
    let (api, daemon) = (FakeApi::default(), Daemon::default());
    let (falls, answers) = (Arc::new(AtomicUsize::new(2)), daemon.dial());
    let left = falls.clone();
    let dial: Dial = Arc::new(move |address| {
        let is_one = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(is_one.is_err(), "one of the operator's own faults");
        answers(address)
    });
    daemon.says(json!([{ "id": "a/b", "status": "loaded" }]));
    let operator = Operator::start_with(&api, Scope::Cluster, dial);
    put(&api, json!({}));
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
    put_pod(&api, "p", "True");
    make_ready(&api);
    await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;
    assert_eq!(falls.load(Ordering::Relaxed), 0);
    let text = operator.metrics.text(Exposition::Text);
    assert!(text.contains("ostro_operator_reconcile_errors_total{reason=\"panic\"} 2\n"), "{text}");
}

async fn await_models(api: &FakeApi, ready: &str, models: Value) {
    let what = format!("{ready} and {models}");
    await_within(SOON, &what, || {
        let status = status(api);
        status["modelsReady"] == ready && status["models"] == models
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn models_are_followed_until_all_are_loaded_and_then_left_alone() {
    let (api, daemon) = (FakeApi::default(), Daemon::default());
    let c = |status: &str| json!({ "id": "c", "aliases": ["/models/c.gguf"], "status": status });
    daemon.says(
        json!([{ "id": "a/b", "status": "loading", "stage": "download", "progress": 0.31 }, c("loaded")]),
    );
    let _operator = start(&api, &daemon).await;
    let loaded = |id: &str| json!({ "id": id, "replicasLoaded": 1, "state": "Loaded" });
    let download =
        json!({ "id": "a/b", "replicasLoaded": 0, "state": "Loading", "message": "download, 30 %" });
    await_models(&api, "0/2", json!([download, loaded("/models/c.gguf")])).await;
    let message = condition(&api, "Progressing").unwrap()["message"].to_string();
    assert!(message.contains("; loading a/b: 1 of 2 models"), "{message}");

    let (asked, writes) = (daemon.asked(), api.writes());
    tokio::time::sleep(Duration::from_secs(100)).await;
    let times = daemon.asked() - asked;
    assert!((9..=11).contains(&times), "asked {times} times in 100 s");
    assert_eq!(api.writes(), writes, "nothing has changed");

    daemon.says(json!([{ "id": "a/b", "status": "loaded" }, c("loaded")]));
    put_pod(&api, "p", "True");
    make_ready(&api);
    await_models(&api, "2/2", json!([loaded("a/b"), loaded("/models/c.gguf")])).await;
    await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;

    let (asked, writes) = (daemon.asked(), api.writes());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let times = daemon.asked() - asked;
    assert!((4..=6).contains(&times), "asked {times} times in an hour");
    assert_eq!(api.writes(), writes, "an idle system writes nothing");
}

#[tokio::test(start_paused = true)]
async fn pods_that_cannot_be_asked_count_by_their_readiness() {
    let (api, daemon) = (FakeApi::default(), Daemon::default());
    let _operator = start(&api, &daemon).await;
    let unknown = |id: &str| json!({ "id": id, "replicasLoaded": 0 });
    await_models(&api, "0/2", json!([unknown("a/b"), unknown("/models/c.gguf")])).await;
    await_within(SOON, "a question", || daemon.asked() > 0).await;
    put_pod(&api, "p", "True");
    make_ready(&api);
    let loaded = |id: &str| json!({ "id": id, "replicasLoaded": 1, "state": "Loaded" });
    await_models(&api, "2/2", json!([loaded("a/b"), loaded("/models/c.gguf")])).await;
    await_within(SOON, "readiness", || told(&api, "Ready") == "True AllReady").await;

    let writes = api.writes();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(api.writes(), writes, "silence changes nothing");
    // Nor does it hold back a change.
    put(&api, json!({ "models": [{ "modelId": "a/b" }], "replicas": 3 }));
    let is_applied = || api.get("apps", "deployments", "m").unwrap()["spec"]["replicas"] == 3;
    await_within(Duration::from_secs(1), "a change", is_applied).await;
    await_within(Duration::from_secs(3), "its status", || status(&api)["modelsReady"] == "1/1").await;
}
