//! What the caches keep of the API's objects. Reconciles need little of them, and as trees of fields a thousand objects
//! with their children would take 100 MiB. Whoever needs another field of a pod adds it to `pod`.

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
mod sent;
#[cfg(test)]
mod tests;
mod text;
mod version;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::DynamicObject;
use kube::core::{DynamicResourceScope, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use ostro_crds::InferenceDeployment;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::build::{COMPLETE, ChildKind, FAILED, HASH_ANNOTATION, content_hash, instance_of};
use super::comparison::{contains, first_difference, is_unchanged};
use super::ownership::left_by;
use super::refusal::REPLICA_FAILURE;
use super::store::Shown;

pub(crate) use object::CachedObject;
pub(crate) use pod::{CachedPod, KeptPod, Task, made_for};
use sent::SentMetadata;
pub(crate) use text::Packer;
use text::Text;
pub(crate) use version::Version;

/// One of the operator's own objects, as a watch shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Box<RawValue>")]
pub(crate) struct Cached {
    /// Only what watches and owners go by.
    metadata: ObjectMeta,
    /// The object that its labels name, whoever owns it.
    instance: Option<Box<str>>,
    kept: Arc<Kept>,
}

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The uids of the InferenceDeployments that own it, each with a space behind it.
    owners: Box<str>,
    /// The object that it names, where nobody owns it.
    left_by: Option<Box<str>>,
    /// As its bytes: as a text it would take four times as much.
    uid: Option<Uuid>,
    pub(crate) is_going: bool,
    /// None where little of it is kept.
    pub(crate) version: Option<Version>,
    body: Mutex<Body>,
}

#[derive(Debug)]
struct Body {
    /// What is compared or read of it.
    text: Text,
    checked: Option<Checked>,
}

/// Everything that the object with this hash wants is in it, so that it need not be read to know that.
#[derive(Clone, Copy, Debug)]
struct Checked {
    wanted: u64,
    /// Of the pod template that was wanted; none for kinds without one.
    template: Option<u64>,
}

/// Several times what the largest spec leads to. A child that others have made larger is applied at every look.
const CHILD_BYTES_MAX: usize = 512 << 10;
/// Of what no object owns, such as the claims of a StatefulSet.
const OTHERS_BYTES_MAX: usize = 8 << 10;
/// Anybody may write references as long as the object may be; there is one, with a name and uid of the API server's.
const OWNERS_MAX: usize = 16;
const OWNER_CHARS_MAX: usize = 253;

/// What anybody labelled as the operator's may be deeper than JSON is read, or fill the memory: of that there is metadata,
/// and little of it.
impl TryFrom<Box<RawValue>> for Cached {
    type Error = serde_json::Error;

    fn try_from(sent: Box<RawValue>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Sent {
            metadata: SentMetadata,
        }
        let is_read = sent.get().len() <= CHILD_BYTES_MAX;
        match is_read.then(|| ostro_json::from_slice::<DynamicObject>(sent.get().as_bytes())) {
            Some(Ok(object)) => Ok(object.into()),
            _ => {
                let Sent { metadata } = serde_json::from_str(sent.get())?;
                let metadata = names(&metadata.into());
                Ok(DynamicObject { types: None, metadata, data: json!({}) }.into())
            }
        }
    }
}

impl From<DynamicObject> for Cached {
    fn from(mut object: DynamicObject) -> Self {
        let metadata = short(&object.metadata);
        let is_going = object.metadata.deletion_timestamp.is_some();
        let owners = metadata.owner_references.iter().flatten().map(|owner| format!("{} ", owner.uid));
        let owners = owners.collect::<String>();
        let left_by = left_by(&object).map(Box::from);
        let uid = object.metadata.uid.as_deref().and_then(uuid);
        let instance = instance_of(object.labels()).map(Box::from);
        shorten(&mut object);
        let text = |object: &DynamicObject| serde_json::to_string(object).expect("it came as JSON");
        let most = if owners.is_empty() { OTHERS_BYTES_MAX } else { CHILD_BYTES_MAX };
        let mut kept = text(&object);
        let has_fields = object.data.as_object().is_some_and(|fields| !fields.is_empty());
        let version = (has_fields && kept.len() <= most).then(|| Version::of(&metadata));
        if kept.len() > most {
            kept = text(&DynamicObject { metadata: names(&object.metadata), data: json!({}), ..object });
        }
        let body = Mutex::new(Body { text: kept.into(), checked: None });
        Cached {
            metadata,
            instance,
            kept: Arc::new(Kept { owners: owners.into(), left_by, uid, is_going, version, body }),
        }
    }
}

impl Cached {
    /// The object in charge of it, and the one that it names: somebody may have taken it from that.
    pub(crate) fn of(&self) -> Vec<ObjectRef<CachedObject>> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let owners = self.metadata.owner_references.iter().flatten();
        // There is one; of others anybody may write thousands.
        let controller =
            owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.name.as_str());
        let names: BTreeSet<&str> = controller.chain(self.instance.as_deref()).collect();
        names.into_iter().map(|name| ObjectRef::new(name).within(namespace)).collect()
    }
}

impl Shown for Cached {
    type Kept = Kept;

    fn pack(&mut self, packer: &mut Packer) {
        packer.pack(&mut self.kept.body().text);
    }

    fn kept(&self) -> Arc<Kept> {
        self.kept.clone()
    }
}

impl Kept {
    pub(crate) fn is_of(&self, owner: &InferenceDeployment) -> bool {
        let uid = owner.meta().uid.as_deref();
        uid.is_some_and(|uid| self.owners.split_terminator(' ').any(|owner| owner == uid))
    }

    /// It is owned, or an apply would make it so.
    pub(crate) fn is_own(&self, owner: &InferenceDeployment) -> bool {
        let name = owner.meta().name.as_deref();
        self.is_of(owner) || self.left_by.as_deref().is_some_and(|left| name == Some(left))
    }

    /// None where it is not as API servers write them.
    pub(crate) fn uid(&self) -> Option<String> {
        self.uid.map(|uid| uid.to_string())
    }

    /// Whether an apply of `wanted` would change nothing.
    pub(crate) fn is_as(&self, kind: ChildKind, wanted: &DynamicObject) -> bool {
        let Some(hash) = hash_of(wanted).and_then(number) else { return false };
        let mut body = self.body();
        if let Some(checked) = body.checked {
            return checked.wanted == hash;
        }
        let is_as = is_unchanged(wanted, &body.object());
        if is_as {
            let template = &wanted.data["spec"]["template"];
            let has_template = ChildKind::WORKLOADS.contains(&kind);
            let template = has_template.then(|| content_hash(template)).and_then(|hash| number(&hash));
            body.checked = Some(Checked { wanted: hash, template });
            if !is_read(kind) {
                body.text = String::new().into();
            }
        }
        is_as
    }

    /// The path of a field that is not as wanted, where it is known.
    pub(crate) fn difference(&self, wanted: &DynamicObject) -> Option<String> {
        let body = self.body();
        body.checked.is_none().then(|| first_difference(wanted, &body.object()))?
    }

    /// Whether all of a pod template is in that of this workload; rather no than a wrong yes.
    pub(crate) fn runs(&self, template: &Value) -> bool {
        let body = self.body();
        match body.checked {
            Some(checked) => {
                checked.template.is_some() && checked.template == number(&content_hash(template))
            }
            None => contains(&body.object().data["spec"]["template"], template),
        }
    }

    /// As its own type.
    pub(crate) fn typed<K: DeserializeOwned>(&self) -> Option<K> {
        self.body().text.parse().ok()
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    fn object(&self) -> DynamicObject {
        self.text.parse().expect("it was written here")
    }
}

/// Those that the status and the hold are made from, also when they are as wanted.
fn is_read(kind: ChildKind) -> bool {
    use ChildKind::{ControllerRevision, Deployment, Job, PersistentVolumeClaim, StatefulSet};
    [ControllerRevision, PersistentVolumeClaim, Deployment, StatefulSet, Job].contains(&kind)
}

/// Leaves out what nobody asks for and no other object has: it would take most of the memory.
fn shorten(object: &mut DynamicObject) {
    let DynamicObject { metadata, data, .. } = object;
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.creation_timestamp = None;
    if let Some(conditions) = data.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| {
            condition["type"].as_str().is_some_and(|kind| [REPLICA_FAILURE, COMPLETE, FAILED].contains(&kind))
        });
    }
}

/// That has this text, and no other.
fn uuid(text: &str) -> Option<Uuid> {
    text.parse().ok().filter(|uuid: &Uuid| uuid.to_string() == text)
}

/// Of the fields that the operator applies.
fn hash_of(object: &DynamicObject) -> Option<&str> {
    object.metadata.annotations.as_ref()?.get(HASH_ANNOTATION).map(String::as_str)
}

/// That a `short_hash` is the text of.
fn number(hash: &str) -> Option<u64> {
    u64::from_str_radix(hash, 16).ok()
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

/// What watches and owners go by.
fn short(metadata: &ObjectMeta) -> ObjectMeta {
    let own = metadata.owner_references.as_ref().map(|all| {
        let own = all.iter().filter(|owner| {
            owner.kind == InferenceDeployment::kind(&())
                && owner.api_version == InferenceDeployment::api_version(&())
                && owner.uid.len() <= OWNER_CHARS_MAX
                && owner.name.len() <= OWNER_CHARS_MAX
        });
        own.take(OWNERS_MAX).cloned().collect()
    });
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        resource_version: metadata.resource_version.clone(),
        owner_references: own,
        ..ObjectMeta::default()
    }
}

/// What is kept of an object that is too large.
fn names(metadata: &ObjectMeta) -> ObjectMeta {
    let uid = metadata.uid.clone();
    ObjectMeta { uid, deletion_timestamp: metadata.deletion_timestamp.clone(), ..short(metadata) }
}
