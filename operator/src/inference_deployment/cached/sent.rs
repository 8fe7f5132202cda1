//! Metadata as the API server sends it, without what is never read: `managedFields` are as deep as the object, and
//! nothing may stop the reading of a list, which is read in one go for all of its objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::ObjectMeta;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl From<SentMetadata> for ObjectMeta {
    fn from(sent: SentMetadata) -> Self {
        ObjectMeta {
            name: sent.name,
            namespace: sent.namespace,
            uid: sent.uid,
            generation: sent.generation,
            resource_version: sent.resource_version,
            creation_timestamp: sent.creation_timestamp,
            deletion_timestamp: sent.deletion_timestamp,
            labels: sent.labels,
            annotations: sent.annotations,
            owner_references: sent.owner_references,
            ..ObjectMeta::default()
        }
    }
}
