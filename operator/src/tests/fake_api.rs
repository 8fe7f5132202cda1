//! An API server in memory: objects, watches, server-side apply without field managers. It writes down the rights that
//! a real one would demand, and can lack the optional APIs.

mod answers;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::api_calls::{ApiCall, CountCalls};
use crate::metrics::Metrics;
use state::State;

pub(super) const MONITORING: &str = "monitoring.coreos.com";

/// One right: group, resource, verb, and the object's name where rules may name it.
pub(super) type Right = (String, String, String, Option<String>);

#[derive(Clone, Default)]
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
}

impl FakeApi {
    pub(super) fn client(&self, metrics: &Metrics) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let query = head.uri.query().unwrap_or_default().to_owned();
                let call = ApiCall::of(&head.method, &head.uri);
                let body = serde_json::from_slice(&body).unwrap_or_default();
                Ok::<_, kube::Error>(fake.state.lock().unwrap().answer(call, (&query, head.uri.path()), body))
            }
        });
        Client::new(tower::Layer::layer(&CountCalls::new(metrics.clone()), service), "default")
    }

    /// Installs or takes away the API of the Prometheus operator, its objects and watches with it.
    pub(super) fn set_monitoring(&self, has_monitoring: bool) {
        let mut state = self.state.lock().unwrap();
        state.has_monitoring = has_monitoring;
        if !has_monitoring {
            state.objects.retain(|key, _| key[0] != MONITORING);
            state.watches.retain(|watch| watch.group != MONITORING);
        }
    }

    pub(super) fn pretend_monitoring(&self) {
        self.state.lock().unwrap().pretends_monitoring = true;
    }

    /// As a person does, who needs no rights here.
    pub(super) fn put(&self, group: &str, resource: &str, object: Value) {
        let name = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        let key = [group.to_owned(), resource.to_owned(), name("namespace"), name("name")];
        self.state.lock().unwrap().store(key, object);
    }

    /// Of what is there already; watches lag, and do not show it.
    pub(super) fn put_unseen(&self, group: &str, resource: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let key = [group, resource, "n", name].map(str::to_owned);
        self.state.lock().unwrap().objects.insert(key, object).unwrap();
    }

    /// As a person does too.
    pub(super) fn remove(&self, group: &str, resource: &str, name: &str) {
        let key = [group, resource, "n", name].map(str::to_owned);
        let mut state = self.state.lock().unwrap();
        let object = state.objects.remove(&key).unwrap();
        state.tell("DELETED", &key, &object);
    }

    /// Watches miss it.
    pub(super) fn remove_unseen(&self, group: &str, resource: &str, name: &str) {
        let key = [group, resource, "n", name].map(str::to_owned);
        self.state.lock().unwrap().objects.remove(&key).unwrap();
    }

    /// Somebody makes it as soon as a read has not found it; watches lag, and do not show it.
    pub(super) fn put_once_missed(&self, group: &str, resource: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let key = [group, resource, "n", name].map(str::to_owned);
        self.state.lock().unwrap().awaiting = Some((key, object));
    }

    /// Watches of a kind are told that they have missed something.
    pub(super) fn expire(&self, resource: &str) {
        let status =
            json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "" });
        let event = format!("{}\n", json!({ "type": "ERROR", "object": status }));
        let mut state = self.state.lock().unwrap();
        for watch in state.watches.extract_if(.., |watch| watch.resource == resource) {
            let _ = watch.events.unbounded_send(Ok(event.clone()));
        }
    }

    pub(super) fn get(&self, group: &str, resource: &str, name: &str) -> Option<Value> {
        let key = [group, resource, "n", name].map(str::to_owned);
        self.state.lock().unwrap().objects.get(&key).cloned()
    }

    /// Those of a kind.
    pub(super) fn all(&self, group: &str, resource: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let of_kind = state.objects.iter().filter(|(key, _)| key[0] == group && key[1] == resource);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// As a webhook does that counts.
    pub(super) fn refuse(&self, resource: &str) {
        self.state.lock().unwrap().refused = Some((resource.to_owned(), 0));
    }

    /// As where only those may change an object's owners who may delete it.
    pub(super) fn guard_owners(&self, resource: &str) {
        self.state.lock().unwrap().guarded = Some(resource.to_owned());
    }

    /// As a policy of admission does, from now on or no more.
    pub(super) fn mutate(&self, mutated: Option<(&str, &'static str, Value)>) {
        let mutated = mutated.map(|(resource, pointer, value)| (resource.to_owned(), pointer, value));
        self.state.lock().unwrap().mutated = mutated;
    }

    pub(super) fn refusals(&self) -> usize {
        self.state.lock().unwrap().refused.as_ref().map_or(0, |(_, count)| *count)
    }

    pub(super) fn rights(&self) -> BTreeSet<Right> {
        self.state.lock().unwrap().rights.clone()
    }

    /// In which calls were made; `None` is all of them at once.
    pub(super) fn namespaces(&self) -> BTreeSet<Option<String>> {
        self.state.lock().unwrap().namespaces.clone()
    }

    pub(super) fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }
}
