//! The whole operator against an API server in memory, on a clock that jumps to the next thing that happens.

mod caches;
mod claims;
mod configs;
mod fake_api;
mod held;
mod models;
mod monitoring;
mod ownership;
mod pods;
mod prefetch;
mod prune;
mod races;
mod refusals;
mod revisions;
mod rights;
mod stateful;
mod successors;
mod unreadable;
mod watches;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Request, Response};
use futures::{FutureExt, StreamExt};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::contests::Contests;
use crate::discovery::Discovery;
use crate::inference_deployment::build::Defaults;
use crate::inference_deployment::children::{self, Scope, Watches};
use crate::inference_deployment::daemons::{Daemons, Dial};
use crate::inference_deployment::{Context, Pace, Told, controller};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use fake_api::FakeApi;

const GROUP: &str = "inference.ostro.dev";
const IMAGE: &str = "ostro:1";

/// What is logged.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A running operator.
struct Operator {
    metrics: Metrics,
    context: Arc<Context>,
    task: JoinHandle<()>,
}

impl Operator {
    /// Which reaches no daemon.
    fn start(api: &FakeApi, scope: Scope) -> Operator {
        Operator::start_with(api, scope, no_daemon())
    }

    fn start_with(api: &FakeApi, scope: Scope, dial: Dial) -> Operator {
        Operator::start_of(api, scope, (dial, IMAGE))
    }

    /// Whose own default is this image.
    fn start_of(api: &FakeApi, scope: Scope, (dial, image): (Dial, &str)) -> Operator {
        let metrics = Metrics::new();
        let (context, watched) = prepare(api.client(&metrics), &metrics, &scope, (dial, image));
        let running = context.clone();
        let task = tokio::spawn(async move {
            controller::run(running, &scope, watched, std::future::pending()).await;
        });
        Operator { metrics, context, task }
    }
}

fn prepare(
    client: Client,
    metrics: &Metrics,
    scope: &Scope,
    (dial, image): (Dial, &str),
) -> (Arc<Context>, (Watches, Discovery)) {
    let discovery = Discovery::new(client.clone(), metrics.clone());
    let (children, watches) = children::watch(&client, scope, &discovery);
    let reporter = Reporter { controller: "ostro-operator".to_owned(), instance: Some("test".to_owned()) };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter.clone()),
        reporter,
        told: Told::default(),
        pace: Pace::default(),
        client,
        children,
        defaults: Defaults { image: image.to_owned() },
        metrics: metrics.clone(),
        backoff: Backoff::default(),
        contests: Contests::default(),
        daemons: Daemons::new(dial, metrics.clone()),
        readiness: Readiness::default(),
    };
    (Arc::new(context), (watches, discovery))
}

fn no_daemon() -> Dial {
    Arc::new(|_| std::future::ready(Err(std::io::ErrorKind::ConnectionRefused.into())).boxed())
}

#[tokio::test(start_paused = true)]
async fn logs_name_the_object() {
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = tracing_subscriber::fmt::layer().json().with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
    let _here = tracing::subscriber::set_default(subscriber);
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_within(Duration::from_secs(20), "the Deployment", || api.get("apps", "deployments", "m").is_some())
        .await;
    let told = lines.take();
    let line = told.lines().find(|line| line.contains("applied")).unwrap();
    let (_, span) = line.split_once(r#""span":{"#).unwrap();
    let (span, _) = span.split_once('}').unwrap();
    assert!(span.contains(r#""object":"m""#) && span.matches(r#""name":"#).count() == 1, "{span}");
}

/// Its terminating reconciles are waited for, and no list that cannot end.
#[tokio::test(start_paused = true)]
async fn an_operator_that_cannot_read_its_objects_says_so_and_stops_when_it_is_told() {
    let failing = tower::service_fn(|_: Request<Body>| async {
        let answer = Response::builder().status(500).body(Body::empty());
        Ok::<_, kube::Error>(answer.unwrap())
    });
    let metrics = Metrics::new();
    let client = Client::new(failing, "default");
    let (context, watched) = prepare(client, &metrics, &Scope::Cluster, (no_daemon(), IMAGE));
    let readiness = context.readiness.clone();
    let stopped = async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let lack = readiness.lack().unwrap();
        assert!(lack.starts_with("cannot list or watch inferencedeployments, serviceaccounts, "), "{lack}");
    };
    let running = controller::run(context, &Scope::Cluster, watched, stopped);
    assert!(tokio::time::timeout(Duration::from_secs(61), running).await.is_ok());
}

/// As many as are reconciled at once.
#[tokio::test(start_paused = true)]
async fn all_that_wait_for_the_caches_go_on() {
    let metrics = Metrics::new();
    let client = FakeApi::default().client(&metrics);
    let discovery = Discovery::new(client.clone(), metrics);
    let (children, watches) = children::watch(&client, &Scope::Cluster, &discovery);
    let waiters: Vec<_> = (0..16)
        .map(|_| {
            let children = children.clone();
            tokio::spawn(async move { children.wait_until_ready().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    let kinds = watches.children.into_iter().map(|(_, changes)| changes.map(drop).boxed());
    let all = futures::stream::select_all(kinds.chain([watches.pods.map(drop).boxed()]));
    let driver = tokio::spawn(all.for_each(|()| std::future::ready(())));
    let is_done = || waiters.iter().all(JoinHandle::is_finished);
    await_within(Duration::from_secs(60), "waiting for the caches", is_done).await;
    driver.abort();
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Of the test's clock, which runs only while nothing else does.
async fn await_within(limit: Duration, what: &str, is_true: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < limit, "{what} took longer than {limit:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn object(fields: Value) -> Value {
    let mut spec = json!({ "models": [{ "modelId": "a/b" }] });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "n" }, "spec": spec,
    })
}

fn put(api: &FakeApi, fields: Value) {
    api.put(GROUP, "inferencedeployments", object(fields));
}

/// Of a pod of that object's Deployment, as it is now.
fn pod_metadata(api: &FakeApi, name: &str) -> Value {
    let deployment = api.get("apps", "deployments", "m").unwrap_or_default();
    let annotations = deployment["spec"]["template"]["metadata"]["annotations"].clone();
    let labels = json!({
        "app.kubernetes.io/managed-by": "ostro-operator", "app.kubernetes.io/instance": "m",
        "pod-template-hash": "5d4",
    });
    let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "m-5d4", "uid": "r", "controller": true });
    json!({
        "name": name, "namespace": "n", "labels": labels, "ownerReferences": [owner],
        "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations,
    })
}

/// The Deployment's controller, whose pods are ready at once.
fn make_ready(api: &FakeApi) {
    make_ready_of(api, "deployments");
}

fn make_ready_of(api: &FakeApi, resource: &str) {
    let mut workload = api.get("apps", resource, "m").unwrap();
    let (replicas, generation) =
        (workload["spec"]["replicas"].clone(), workload["metadata"]["generation"].clone());
    workload["status"] = json!({
        "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas, "observedGeneration": generation,
    });
    api.put("apps", resource, workload);
}

/// Its controller's, and the kubelet's.
fn put_pod_of_job(api: &FakeApi, job: &Value, (phase, state): (&str, Value)) {
    let template = &job["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = "worker".into();
    metadata["namespace"] = "n".into();
    let name = &job["metadata"]["name"];
    metadata["ownerReferences"] =
        json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "j", "controller": true }]);
    let status = json!({ "name": "ostro", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state });
    let status = json!({ "phase": phase, "containerStatuses": [status] });
    api.put("", "pods", json!({ "metadata": metadata, "spec": template["spec"], "status": status }));
}

/// Names of the daemon's configurations.
fn configs(api: &FakeApi) -> Vec<String> {
    let configs = api.all("", "configmaps");
    configs.iter().map(|config| config["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn condition(api: &FakeApi, kind: &str) -> Option<Value> {
    condition_of(api, "m", kind)
}

fn condition_of(api: &FakeApi, name: &str, kind: &str) -> Option<Value> {
    let object = api.get(GROUP, "inferencedeployments", name)?;
    let conditions = object["status"]["conditions"].as_array()?.clone();
    conditions.into_iter().find(|condition| condition["type"] == kind)
}

/// Status and reason, as in `False APIMissing`.
fn told(api: &FakeApi, kind: &str) -> String {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    condition(api, kind).map_or_else(String::new, |condition| {
        format!("{} {}", text(&condition, "status"), text(&condition, "reason"))
    })
}
