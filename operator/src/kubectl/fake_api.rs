//! An API server for tests: objects by path, and what was asked of it. A patch gives what it would make of the object
//! if everything in it were merged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::cluster::Cluster;

/// One request: `GET /api/v1/…?query`, and its body.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) body: Value,
}

type Answer = Arc<dyn Fn(&Asked) -> (u16, Value) + Send + Sync>;

#[derive(Clone)]
pub(super) struct FakeApi {
    answer: Answer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeApi {
    /// Has nothing.
    pub(super) fn new() -> FakeApi {
        FakeApi::with(&[])
    }

    pub(super) fn answering(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> FakeApi {
        FakeApi { answer: Arc::new(answer), asked: Arc::default() }
    }

    /// Has these objects, each with its path.
    pub(super) fn with(objects: &[(&str, Value)]) -> FakeApi {
        let objects: BTreeMap<String, Value> =
            objects.iter().map(|(path, object)| ((*path).to_owned(), object.clone())).collect();
        FakeApi::answering(move |asked| answer(&objects, asked))
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn handle(&self, asked: Asked) -> (u16, Value) {
        self.asked.lock().unwrap().push(asked.clone());
        (self.answer)(&asked)
    }
}

fn answer(objects: &BTreeMap<String, Value>, asked: &Asked) -> (u16, Value) {
    let (method, path) = asked.line.split_once(' ').unwrap();
    let path = path.split('?').next().unwrap();
    let live = objects.get(path);
    let name = path.rsplit('/').next().unwrap();
    match (method, live) {
        ("GET", Some(object)) => (200, object.clone()),
        ("GET", None) => {
            let prefix = format!("{path}/");
            let items: Vec<Value> = objects
                .iter()
                .filter(|(path, _)| path.starts_with(&prefix))
                .map(|(_, object)| without_types(object))
                .collect();
            match KINDS.contains(&name) {
                true => (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items })),
                false => missing("things", name),
            }
        }
        ("POST" | "PATCH", live) => {
            let mut object = live.cloned().unwrap_or_else(|| json!({ "metadata": { "uid": "new" } }));
            merge(&mut object, &asked.body);
            (200, object)
        }
        (method, _) => (405, json!({ "message": method })),
    }
}

const KINDS: [&str; 14] = [
    "inferencedeployments",
    "pods",
    "serviceaccounts",
    "configmaps",
    "persistentvolumeclaims",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
    "statefulsets",
    "jobs",
    "deployments",
    "controllerrevisions",
    "servicemonitors",
    "podmonitors",
];

/// As an API server lists an object.
fn without_types(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| !["apiVersion", "kind"].contains(&name.as_str()));
    }
    object
}

/// RFC 7396.
fn merge(object: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(patch)) = (&mut *object, patch) else {
        *object = patch.clone();
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => drop(fields.remove(name)),
            value => merge(fields.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// Of a pod that the Deployment `m` has made.
pub(super) fn pod_metadata(name: &str) -> Value {
    let controller = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "m-5d4", "uid": "r", "controller": true });
    json!({
        "name": name, "namespace": "shop", "ownerReferences": [controller],
        "labels": {
            "app.kubernetes.io/managed-by": "ostro-operator", "app.kubernetes.io/name": "ostro",
            "app.kubernetes.io/instance": "m", "pod-template-hash": "5d4",
        },
    })
}

pub(super) fn missing(kind: &str, name: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
        "message": format!("{kind} {name:?} not found"), "details": { "name": name, "kind": kind },
    });
    (404, status)
}

/// As for a path that no API has: text, and no `Status`.
pub(super) fn no_api() -> (u16, Value) {
    (404, "404 page not found".into())
}

pub(super) fn cluster(api: FakeApi) -> Cluster {
    let service = tower::service_fn(move |request: Request<Body>| {
        let api = api.clone();
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let (code, value) = api.handle(Asked { line, body });
            let text = match value {
                Value::String(text) => text,
                value => value.to_string(),
            };
            Ok::<_, Infallible>(Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap())
        }
    });
    Cluster { client: Client::new(service, "shop"), namespace: "shop".to_owned() }
}
