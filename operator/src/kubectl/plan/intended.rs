//! An `InferenceDeployment` as it would be after its manifest is applied, by the way it was applied last: fields that
//! others set, such as `kubectl scale`, stay.

use anyhow::{Context, Result};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use ostro_crds::InferenceDeployment;
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::explained::explained;

/// Where `kubectl apply` keeps the manifest.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// As the API server answers to a dry run, which holds the rules of the CRD too.
pub(super) async fn intended(
    cluster: &Cluster,
    live: Option<&InferenceDeployment>,
    object: &InferenceDeployment,
) -> Result<InferenceDeployment> {
    let api: Api<InferenceDeployment> = cluster.api();
    let name = object.name_any();
    let wanted = written(object, &cluster.namespace);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let answer = match live.map(|live| (live, applier(live))) {
        None => {
            let wanted: InferenceDeployment = serde_json::from_value(wanted)?;
            api.create(&PostParams { dry_run: true, ..PostParams::default() }, &wanted).await
        }
        Some((_, Some(manager))) => {
            let dry = PatchParams { field_manager: Some(manager.to_owned()), ..dry };
            api.patch(&name, &dry, &Patch::Apply(&wanted)).await
        }
        Some((live, None)) => {
            let last = live.annotations().get(LAST_APPLIED);
            let last =
                last.and_then(|text| ostro_json::from_slice(text.as_bytes()).ok()).unwrap_or(Value::Null);
            api.patch(&name, &dry, &Patch::Merge(merge_patch(&last, &wanted))).await
        }
    };
    let mut after =
        answer.map_err(explained).with_context(|| format!("InferenceDeployment {name} is refused"))?;
    // Of the children's owner, and the builder needs one.
    after.meta_mut().uid.get_or_insert_default();
    after.meta_mut().namespace.get_or_insert_with(|| cluster.namespace.clone());
    Ok(after)
}

/// What a person writes of an object; a manifest may be an object that was exported.
fn written(object: &InferenceDeployment, namespace: &str) -> Value {
    let mut annotations = object.annotations().clone();
    annotations.remove(LAST_APPLIED);
    // Present as in what kubectl sends, so that a merge takes out its own annotations only.
    let mut metadata =
        json!({ "name": object.name_any(), "namespace": namespace, "annotations": annotations });
    if !object.labels().is_empty() {
        metadata["labels"] = json!(object.labels());
    }
    json!({
        "apiVersion": InferenceDeployment::api_version(&()),
        "kind": InferenceDeployment::kind(&()),
        "metadata": metadata,
        "spec": object.spec,
    })
}

/// Whoever applies the object on the server's side; none while `kubectl apply` keeps it in its annotation.
fn applier(live: &InferenceDeployment) -> Option<&str> {
    if live.annotations().contains_key(LAST_APPLIED) {
        return None;
    }
    let entry = live.managed_fields().iter().find(|entry| {
        entry.operation.as_deref() == Some("Apply") && entry.subresource.as_deref().is_none_or(str::is_empty)
    });
    entry?.manager.as_deref()
}

/// Sets all of `wanted`, and takes out what was in `last` and is wanted no more: kubectl's three-way merge.
fn merge_patch(last: &Value, wanted: &Value) -> Value {
    let (Value::Object(last), Value::Object(wanted)) = (last, wanted) else { return wanted.clone() };
    let mut patch = wanted.clone();
    for (name, last) in last {
        let value = wanted.get(name).map_or(Value::Null, |wanted| merge_patch(last, wanted));
        patch.insert(name.clone(), value);
    }
    patch.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_of_others_stay() {
        let object = json!({ "metadata": { "name": "m" }, "spec": { "models": [] } });
        let object: InferenceDeployment = serde_json::from_value(object).unwrap();
        let last = json!({ "metadata": { "annotations": { "mine": "1" }, "labels": { "a": "b" } } });
        let patch = merge_patch(&last, &written(&object, "n"));
        assert_eq!(patch["metadata"]["annotations"], json!({ "mine": null }));
        assert_eq!(patch["metadata"]["labels"], Value::Null);
        let last = json!({ "metadata": { "annotations": {} } });
        assert_eq!(merge_patch(&last, &written(&object, "n"))["metadata"]["annotations"], json!({}));
    }

    #[test]
    fn a_patch_takes_out_what_its_file_no_longer_has() {
        let last = json!({ "spec": { "replicas": 2, "runtime": { "maxSeqs": 1, "other": 2 }, "env": [1] } });
        let wanted = json!({ "spec": { "runtime": { "maxSeqs": 3 }, "env": [2] } });
        let expected =
            json!({ "spec": { "runtime": { "maxSeqs": 3, "other": null }, "env": [2], "replicas": null } });
        assert_eq!(merge_patch(&last, &wanted), expected);
        assert_eq!(merge_patch(&Value::Null, &wanted), wanted);
    }
}
