//! What the cache keeps of an `InferenceDeployment`: all that a reconcile reads, as text, and what is asked of all of
//! them at once.

use kube::core::ObjectMeta;
use ostro_crds::{InferenceDeployment, Reason};
use serde::Deserialize;

use super::short;
use super::text::{Packer, Text};
use crate::inference_deployment::build::{ChildKind, monitor_kind};
use crate::inference_deployment::status::pending_reason;

/// Written by `kubectl apply` for itself, and as large as the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "InferenceDeployment")]
pub(crate) struct CachedObject {
    metadata: ObjectMeta,
    text: Text,
    /// That it asks for.
    pub(crate) monitor: Option<ChildKind>,
    /// Why its template waits, as its status says.
    pub(crate) pending: Option<Reason>,
}

impl From<InferenceDeployment> for CachedObject {
    fn from(mut object: InferenceDeployment) -> Self {
        object.metadata.managed_fields = None;
        if let Some(annotations) = &mut object.metadata.annotations {
            annotations.remove(LAST_APPLIED);
        }
        let text = serde_json::to_string(&object).expect("it came as JSON").into();
        let (monitor, pending) = (monitor_kind(&object.spec), pending_reason(&object));
        CachedObject { metadata: short(&object.metadata), text, monitor, pending }
    }
}

impl CachedObject {
    pub(crate) fn object(&self) -> InferenceDeployment {
        self.text.parse().expect("it was written here")
    }

    pub(crate) fn pack(&mut self, packer: &mut Packer) {
        packer.pack(&mut self.text);
        // The watch has read it, and each of kube's keys would have it too.
        self.metadata.resource_version = None;
    }
}

resource_as!(CachedObject, InferenceDeployment);
