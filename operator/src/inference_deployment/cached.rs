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

mod kept;
mod object;
mod pod;
mod sent;
#[cfg(test)]
mod tests;
mod text;
mod version;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use kube::api::DynamicObject;
use kube::core::{DynamicResourceScope, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use ostro_crds::InferenceDeployment;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::build::{COMPLETE, ChildKind, FAILED, instance_of};
use super::ownership::left_by;
use super::refusal::REPLICA_FAILURE;
use super::store::Shown;

pub(crate) use kept::Kept;
use kept::{Body, uid};
pub(crate) use object::CachedObject;
pub(crate) use pod::{CachedPod, KeptPod, Task, made_for};
use sent::SentMetadata;
pub(crate) use text::Packer;
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
        let uid = object.metadata.uid.as_deref().and_then(uid);
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
