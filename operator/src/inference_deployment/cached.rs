//! What the caches keep of the API's objects. Reconciles need little of them, and as trees of fields a thousand objects
//! with their children would take 100 MiB. Whoever needs another field of a child or a pod adds it to `rest` or `pod`.

/// What is kept of a kind has its names, and metadata of its own.
macro_rules! resource_as {
    ($cached:ty, $kind:ty) => {
        impl kube::Resource for $cached {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::kind(&())
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::group(&())
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::version(&())
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::plural(&())
            }

            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

mod object;
mod pod;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::DynamicObject;
use kube::core::{DynamicResourceScope, ObjectMeta};
use kube::{Resource, ResourceExt};
use ostro_crds::InferenceDeployment;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::apply::{contains, is_unchanged};
use super::build::{CONTAINER, ChildKind, HASH_ANNOTATION, content_hash};
use super::refusal::REPLICA_FAILURE;
use super::store::Shown;
use super::workload::WorkloadStatus;

pub(crate) use object::CachedObject;
pub(crate) use pod::{CachedPod, KeptPod};

/// One of the operator's own objects, as a watch shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "DynamicObject")]
pub(crate) struct Cached {
    /// Only what watches and owners go by.
    metadata: ObjectMeta,
    kept: Arc<Kept>,
}

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The owners' uids, each with a space behind it.
    owners: Box<str>,
    pub(crate) is_going: bool,
    body: Mutex<Body>,
}

#[derive(Debug)]
enum Body {
    /// In JSON.
    Whole(Box<str>),
    /// Everything that the object with this hash wants is in it.
    Checked {
        hash: Box<str>,
        /// Hash of the pod template that was wanted; empty for kinds without one.
        template: Box<str>,
        /// In JSON, what is still read.
        rest: Box<str>,
    },
}

impl From<DynamicObject> for Cached {
    fn from(mut object: DynamicObject) -> Self {
        object.metadata.managed_fields = None;
        let text = serde_json::to_string(&object).expect("it came as JSON");
        let owners = object.owner_references().iter().map(|owner| format!("{} ", owner.uid));
        let kept = Kept {
            owners: owners.collect::<String>().into(),
            is_going: object.metadata.deletion_timestamp.is_some(),
            body: Mutex::new(Body::Whole(text.into())),
        };
        Cached { metadata: short(object.metadata), kept: Arc::new(kept) }
    }
}

impl Shown for Cached {
    type Kept = Kept;

    fn kept(&self) -> Arc<Kept> {
        self.kept.clone()
    }
}

impl Kept {
    pub(crate) fn is_of(&self, owner: &InferenceDeployment) -> bool {
        let uid = owner.meta().uid.as_deref();
        uid.is_some_and(|uid| self.owners.split_terminator(' ').any(|owner| owner == uid))
    }

    /// Whether an apply of `wanted` would change nothing.
    pub(crate) fn is_as(&self, kind: ChildKind, wanted: &DynamicObject) -> bool {
        let hash = wanted.metadata.annotations.as_ref().and_then(|all| all.get(HASH_ANNOTATION));
        let mut body = self.body();
        match &*body {
            Body::Checked { hash: checked, .. } => hash.is_some_and(|hash| **hash == **checked),
            Body::Whole(text) => {
                let live = parse(text);
                if !is_unchanged(wanted, &live) {
                    return false;
                }
                let has_template = ChildKind::WORKLOADS.contains(&kind);
                let template = has_template.then(|| content_hash(&wanted.data["spec"]["template"]));
                let hash = hash.map(String::as_str).unwrap_or_default().into();
                let rest = rest(kind, live).into();
                *body = Body::Checked { hash, template: template.unwrap_or_default().into(), rest };
                true
            }
        }
    }

    /// Whether all of a pod template is in that of this workload; rather no than a wrong yes.
    pub(crate) fn runs(&self, template: &Value) -> bool {
        match &*self.body() {
            Body::Checked { template: checked, .. } => content_hash(template) == **checked,
            Body::Whole(text) => contains(&parse(text).data["spec"]["template"], template),
        }
    }

    /// Of a revision that was checked: its data, which is rendered again as long as nothing changes.
    pub(crate) fn forget_data(&self) {
        let mut body = self.body();
        if let Body::Checked { rest, .. } = &mut *body
            && let Ok(mut revision) = serde_json::from_str::<Value>(rest)
            && revision["data"].take() != Value::Null
        {
            *rest = revision.to_string().into();
        }
    }

    /// While something else is rendered: as it was fetched.
    pub(crate) fn recall_data(&self, revision: &DynamicObject) {
        if let Body::Checked { rest: text, .. } = &mut *self.body() {
            *text = rest(ChildKind::ControllerRevision, revision.clone()).into();
        }
    }

    /// As its own type; once it is checked, with the fields only that `rest` leaves.
    pub(crate) fn typed<K: DeserializeOwned>(&self) -> Option<K> {
        let body = self.body();
        let (Body::Whole(text) | Body::Checked { rest: text, .. }) = &*body;
        serde_json::from_str(text).ok()
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(text: &str) -> DynamicObject {
    serde_json::from_str(text).expect("it was written here")
}

/// What the status and the hold are made from: see `status`, `classify` and `hold::fetch`.
fn rest(kind: ChildKind, live: DynamicObject) -> String {
    let DynamicObject { metadata, data, .. } = live;
    let spec = &data["spec"];
    let spec = match kind {
        ChildKind::ControllerRevision => {
            let metadata = json!({ "name": metadata.name });
            return json!({ "metadata": metadata, "revision": data["revision"], "data": data["data"] })
                .to_string();
        }
        ChildKind::Deployment | ChildKind::StatefulSet => json!({
            "replicas": spec["replicas"],
            "template": { "spec": { "containers": containers(&spec["template"]["spec"]["containers"]) } },
        }),
        ChildKind::PersistentVolumeClaim => {
            let spec = json!({ "storageClassName": spec["storageClassName"] });
            return json!({ "metadata": { "name": metadata.name }, "spec": spec }).to_string();
        }
        _ => return String::new(),
    };
    let metadata = json!({ "name": metadata.name, "uid": metadata.uid, "generation": metadata.generation });
    json!({ "metadata": metadata, "spec": spec, "status": status(&data["status"]) }).to_string()
}

fn status(status: &Value) -> Option<WorkloadStatus> {
    let mut status: WorkloadStatus = serde_json::from_value(status.clone()).ok()?;
    status.conditions.retain(|condition| condition.kind == REPLICA_FAILURE);
    Some(status)
}

/// The daemon's, as `build::template` reads it.
fn containers(all: &Value) -> Vec<Value> {
    let all = all.as_array().into_iter().flatten();
    let daemons = all.filter(|container| container["name"] == CONTAINER);
    let short = |container: &Value| {
        let probe = &container["startupProbe"];
        json!({ "name": CONTAINER, "image": container["image"], "startupProbe": probe })
    };
    daemons.map(short).collect()
}

impl Resource for Cached {
    type DynamicType = ChildKind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ChildKind) -> Cow<'_, str> {
        format!("{kind:?}").into()
    }

    fn group(kind: &ChildKind) -> Cow<'_, str> {
        kind.group_and_plural().0.into()
    }

    fn version(_: &ChildKind) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(kind: &ChildKind) -> Cow<'_, str> {
        kind.group_and_plural().1.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn short(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, namespace, resource_version, owner_references, .. } = metadata;
    ObjectMeta { name, namespace, resource_version, owner_references, ..ObjectMeta::default() }
}
