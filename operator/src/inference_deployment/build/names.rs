//! Names and labels, which never change for an object.

use std::collections::BTreeMap;

use kube::ResourceExt;
use ostro_crds::InferenceDeployment;

use super::ChildKind;
use super::job::Purpose;

pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const APP: &str = "app.kubernetes.io/name";
/// A StatefulSet adopts revisions that nobody owns and that its selector finds.
const REVISION_APP: &str = "ostro-revision";
const INSTANCE: &str = "app.kubernetes.io/instance";

/// What an object's children are called.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Of the object, and of most children.
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl Names {
    pub(crate) fn of(owner: &InferenceDeployment) -> Names {
        Names { name: owner.name_any(), namespace: owner.namespace().unwrap_or_default() }
    }

    pub(crate) fn claim(&self) -> String {
        format!("{}-cache", self.name)
    }

    /// Of the policy for pods that prune; no object has a dot in its name, and so none another's policy.
    pub(super) fn pruning(&self) -> String {
        format!("{}.prune", self.name)
    }

    /// Of the Service that a StatefulSet names its pods by.
    pub(crate) fn headless(&self) -> String {
        format!("{}-headless", self.name)
    }

    /// Finds all that has its name, those of other versions too; as `kubectl -l` takes it.
    pub(crate) fn children(&self) -> String {
        format!("{INSTANCE}={}", self.name)
    }

    /// Constant: a Deployment's selector cannot be changed.
    pub(crate) fn selector(&self) -> BTreeMap<String, String> {
        [(APP, "ostro"), (INSTANCE, self.name.as_str())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}

/// Of children.
pub(super) fn labels_of(kind: ChildKind, name: &str) -> BTreeMap<String, String> {
    let mut labels = labels(name);
    if kind == ChildKind::ControllerRevision {
        labels.insert(APP.to_owned(), REVISION_APP.to_owned());
    }
    labels
}

/// Of everything that belongs to an object, its pods too.
pub(super) fn labels(name: &str) -> BTreeMap<String, String> {
    [(APP, "ostro"), (INSTANCE, name), (MANAGED_BY, "ostro-operator")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Of pods of Jobs: no Service and no workload takes them for the daemon's.
pub(super) fn job_labels(name: &str, purpose: Purpose) -> BTreeMap<String, String> {
    let mut labels = labels(name);
    labels.insert(APP.to_owned(), purpose.app().to_owned());
    labels
}

pub(super) fn job_selector(name: &str, purpose: Purpose) -> BTreeMap<String, String> {
    [(APP, purpose.app()), (INSTANCE, name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The object that a child's labels name.
pub(crate) fn instance_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(INSTANCE).map(String::as_str)
}

/// As `kubectl -l` and `/scale` take it.
pub(crate) fn selector_text(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
