//! What the API server in memory has, and how it takes a call.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use axum::body::Body as Answer;
use axum::http::{Response, StatusCode};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use serde_json::{Value, json};

use super::answers::{
    failure, found_answer, guarded, is_of_another_uid, is_of_another_version, is_same_but_for_versions,
    is_selected, is_unforced_apply, missing, of_another_uid, selector, uid,
};
use super::{MONITORING, Right};
use crate::api_calls::ApiCall;

#[derive(Default)]
pub(super) struct State {
    /// By group, resource, namespace and name.
    pub(super) objects: BTreeMap<[String; 4], Value>,
    pub(super) watches: Vec<Watch>,
    pub(super) version: u64,
    pub(super) has_monitoring: bool,
    /// Discovery names the API, and every call of it is answered by 404.
    pub(super) pretends_monitoring: bool,
    pub(super) rights: BTreeSet<Right>,
    pub(super) namespaces: BTreeSet<Option<String>>,
    pub(super) writes: usize,
    /// A field of these is set so in every write.
    pub(super) mutated: Option<(String, &'static str, Value)>,
    /// Of these every write is refused, and each refusal has its number.
    pub(super) refused: Option<(String, usize)>,
    /// Of these nobody may change the owners.
    pub(super) guarded: Option<String>,
    /// Somebody makes it as soon as somebody else has read that it is not there; no watch shows it.
    pub(super) awaiting: Option<([String; 4], Value)>,
}

pub(super) struct Watch {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) selector: Option<String>,
    pub(super) events: UnboundedSender<Result<String, Infallible>>,
}

impl State {
    pub(super) fn answer(
        &mut self,
        call: Option<ApiCall>,
        (query, path): (&str, &str),
        mut body: Value,
    ) -> Response<Answer> {
        let Some(call) = call else { return self.discover(path) };
        if call.group == MONITORING && !self.has_monitoring {
            return missing();
        }
        self.demand(&call, call.verb);
        self.namespaces.insert(call.namespace.clone());
        let resource = call.resource.split('/').next().unwrap_or_default();
        let name = call.name.clone().or_else(|| body["metadata"]["name"].as_str().map(str::to_owned));
        let namespace = call.namespace.clone().unwrap_or_default();
        let key = [call.group.clone(), resource.to_owned(), namespace, name.unwrap_or_default()];
        let found = self.objects.get(&key).cloned();
        let is_write = matches!(call.verb, "create" | "update" | "patch" | "delete");
        self.writes += usize::from(is_write);
        if let Some((_, count)) =
            self.refused.as_mut().filter(|(refused, _)| *refused == resource && is_write)
        {
            *count += 1;
            return failure(StatusCode::FORBIDDEN, &format!("refusal {count}"));
        }
        if let Some((mutated, pointer, value)) = &self.mutated
            && *mutated == resource
            && let Some(field) = body.pointer_mut(pointer)
        {
            *field = value.clone();
        }
        match (call.verb, found) {
            ("list", _) => self.list(&call, query),
            ("watch", _) => self.watch(&call, query),
            ("get", Some(object)) => found_answer(&object),
            ("get", None) => {
                if let Some((key, object)) = self.awaiting.take_if(|(awaited, _)| *awaited == key) {
                    self.objects.insert(key, object);
                }
                missing()
            }
            ("patch", found) => self.patch(&call, query, key, (found, body)),
            ("create", None) => found_answer(&self.store(key, body)),
            ("create", Some(_)) => failure(StatusCode::CONFLICT, "AlreadyExists"),
            ("update", Some(before)) => self.replace(&call, key, (before, body)),
            // Somebody else has to take it away first.
            ("delete", Some(mut object)) if object["metadata"]["finalizers"].is_array() => {
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                found_answer(&self.store(key, object))
            }
            ("delete", Some(object)) => {
                self.objects.remove(&key);
                self.tell("DELETED", &key, &object);
                found_answer(&json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            _ => missing(),
        }
    }

    fn patch(
        &mut self,
        call: &ApiCall,
        query: &str,
        key: [String; 4],
        (found, mut body): (Option<Value>, Value),
    ) -> Response<Answer> {
        let (resource, subresource) = call.resource.split_once('/').unwrap_or((&call.resource, ""));
        match found {
            // It heeds no uid here.
            Some(object) if subresource == "status" && is_of_another_version(&object, &body) => {
                failure(StatusCode::CONFLICT, "Conflict")
            }
            Some(mut object) if subresource == "status" => {
                object["status"] = body["status"].clone();
                found_answer(&self.store(key, object))
            }
            None if subresource == "status" => missing(),
            // A merge, which makes nothing.
            None if resource == "controllerrevisions" && !body["metadata"]["uid"].is_null() => missing(),
            found if is_of_another_uid(found.as_ref(), &body) => of_another_uid(found.is_some()),
            // All of its fields are somebody else's.
            Some(_) if is_unforced_apply(resource, query) => failure(StatusCode::CONFLICT, "Conflict"),
            None => {
                self.demand(call, "create");
                self.demand_of_owners(call, None, &body);
                found_answer(&self.store(key, body))
            }
            // It compares bytes, and those of an apply are its own.
            Some(_) if resource == "controllerrevisions" && !body["data"].is_null() => {
                failure(StatusCode::UNPROCESSABLE_ENTITY, "data: field is immutable")
            }
            Some(mut before) if resource == "controllerrevisions" => {
                for (name, value) in body["metadata"].as_object_mut().unwrap() {
                    before["metadata"][name] = value.take();
                }
                before["revision"] = body["revision"].clone();
                found_answer(&self.store(key, before))
            }
            Some(before) => self.replace(call, key, (before, body)),
        }
    }

    fn replace(
        &mut self,
        call: &ApiCall,
        key: [String; 4],
        (before, body): (Value, Value),
    ) -> Response<Answer> {
        if self.guarded.as_ref() == Some(&call.resource) && owners(&before) != owners(&body) {
            return guarded();
        }
        self.demand_of_owners(call, Some(&before), &body);
        let is_same = is_same_but_for_versions(&before, &body);
        found_answer(&if is_same { before } else { self.store(key, body) })
    }

    fn discover(&self, path: &str) -> Response<Answer> {
        if path != format!("/apis/{MONITORING}/v1") || !(self.has_monitoring || self.pretends_monitoring) {
            return missing();
        }
        let resource = |name: &str, kind: &str| json!({ "name": name, "kind": kind, "namespaced": true, "singularName": "", "verbs": [] });
        found_answer(&json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{MONITORING}/v1"),
            "resources": [resource("servicemonitors", "ServiceMonitor"), resource("podmonitors", "PodMonitor")],
        }))
    }

    fn demand(&mut self, call: &ApiCall, verb: &str) {
        let name = call.name.clone().filter(|_| verb != "create");
        self.rights.insert((call.group.clone(), call.resource.clone(), verb.to_owned(), name));
    }

    /// The admission plugin OwnerReferencesPermissionEnforcement asks for these.
    fn demand_of_owners(&mut self, call: &ApiCall, before: Option<&Value>, object: &Value) {
        let after = owners(object);
        if before.is_some_and(|before| owners(before) != after) {
            self.demand(call, "delete");
        }
        for owner in after.as_array().into_iter().flatten() {
            if owner["blockOwnerDeletion"] == true {
                let group = owner["apiVersion"].as_str().unwrap().split('/').next().unwrap().to_owned();
                let resource = format!("{}s/finalizers", owner["kind"].as_str().unwrap().to_lowercase());
                self.rights.insert((group, resource, "update".to_owned(), None));
            }
        }
    }

    fn list(&self, call: &ApiCall, query: &str) -> Response<Answer> {
        let selector = selector(query);
        let of_kind = self.objects.iter().filter(|(key, object)| {
            key[0] == call.group && key[1] == call.resource && is_selected(object, selector.as_deref())
        });
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.parse().ok());
        let (start, limit) = (parameter("continue=").unwrap_or(0), parameter("limit=").unwrap_or(usize::MAX));
        let mut rest = of_kind.map(|(_, object)| object).skip(start);
        let items: Vec<&Value> = rest.by_ref().take(limit).collect();
        let token = rest.next().map(|_| (start + limit).to_string());
        let metadata = json!({ "resourceVersion": self.version.to_string(), "continue": token });
        found_answer(&json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    /// From now on: nothing happens between a list and its watch here.
    fn watch(&mut self, call: &ApiCall, query: &str) -> Response<Answer> {
        let (events, receiver) = unbounded();
        let (group, resource) = (call.group.clone(), call.resource.clone());
        self.watches.push(Watch { group, resource, selector: selector(query), events });
        Response::new(Answer::from_stream(receiver.boxed()))
    }

    pub(super) fn store(&mut self, key: [String; 4], mut object: Value) -> Value {
        self.version += 1;
        let before = self.objects.get(&key);
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let version = self.version.to_string();
        let uid = before.map_or_else(|| uid(self.version).into(), |before| before["metadata"]["uid"].clone());
        let is_changed = before.is_none_or(|before| before["spec"] != object["spec"]);
        let generation = before.map_or(0, |before| before["metadata"]["generation"].as_i64().unwrap_or(0));
        if let Some(status) =
            before.and_then(|before| before.get("status")).filter(|_| object.get("status").is_none())
        {
            object["status"] = status.clone();
        }
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = version.into();
        object["metadata"]["generation"] = (generation + i64::from(is_changed)).into();
        self.objects.insert(key.clone(), object.clone());
        self.tell(kind, &key, &object);
        object
    }

    pub(super) fn tell(&mut self, kind: &str, key: &[String; 4], object: &Value) {
        let event = format!("{}\n", json!({ "type": kind, "object": object }));
        for watch in &self.watches {
            if watch.group == key[0]
                && watch.resource == key[1]
                && is_selected(object, watch.selector.as_deref())
            {
                let _ = watch.events.unbounded_send(Ok(event.clone()));
            }
        }
    }
}

fn owners(object: &Value) -> Value {
    object["metadata"]["ownerReferences"].clone()
}
