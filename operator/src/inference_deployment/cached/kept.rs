//! What is kept of one of the operator's own objects, and what can be asked of that.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::Resource;
use kube::api::DynamicObject;
use ostro_crds::InferenceDeployment;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::text::Text;
use super::version::Version;
use crate::inference_deployment::build::{ChildKind, HASH_ANNOTATION, Prepared, content_hash};
use crate::inference_deployment::claim_size::as_large;
use crate::inference_deployment::comparison::{contains, first_difference, is_unchanged};

#[derive(Debug)]
pub(crate) struct Kept {
    /// The uids of the InferenceDeployments that own it, each with a space behind it.
    pub(super) owners: Box<str>,
    /// The object that it names, where nobody owns it.
    pub(super) left_by: Option<Box<str>>,
    /// As its bytes: as a text it would take four times as much.
    pub(super) uid: Option<Uuid>,
    pub(crate) is_going: bool,
    /// None where little of it is kept.
    pub(crate) version: Option<Version>,
    pub(super) body: Mutex<Body>,
}

#[derive(Debug)]
pub(super) struct Body {
    /// What is compared or read of it.
    pub(super) text: Text,
    pub(super) checked: Option<Checked>,
}

/// Everything that the object with this hash wants is in it, so that it need not be read to know that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    wanted: u64,
    /// Of the pod template that was wanted; none for kinds without one.
    template: Option<u64>,
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

    /// What is applied of a claim, which others may have made larger.
    pub(crate) fn grown(&self, Prepared { object, kind }: &Prepared) -> Option<Prepared> {
        let is_claim = *kind == ChildKind::PersistentVolumeClaim;
        let live = is_claim.then(|| self.typed::<DynamicObject>())??;
        Some(Prepared { object: as_large(object, &live).into_owned(), kind: *kind })
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

    pub(super) fn body(&self) -> MutexGuard<'_, Body> {
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

/// That has this text, and no other.
pub(super) fn uid(text: &str) -> Option<Uuid> {
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
