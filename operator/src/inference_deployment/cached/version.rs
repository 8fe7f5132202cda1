//! Which of an object's versions a watch has shown.

use std::hash::{DefaultHasher, Hash, Hasher};

use kube::core::ObjectMeta;

/// Stands for a resource version, which is compared only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64);

impl Version {
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let mut hasher = DefaultHasher::new();
        metadata.resource_version.hash(&mut hasher);
        Version(hasher.finish())
    }
}
