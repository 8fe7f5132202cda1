//! How long a container may take to start, where the object does not say. Pure.
//!
//! On the CPU the weights of all models together are no larger than `limits.memory`: time to download that much, unless
//! the models are in the pod already, and to load it. With a GPU, or without that limit, nothing bounds the weights:
//! a time for each model. Either is generous, since a startup probe costs nothing once it has passed.

use ostro_crds::{InferenceDeploymentSpec, quantity};
use serde_json::Value;

use super::gpu;

/// For downloading and loading weights of unknown size.
const SECONDS_A_MODEL: i32 = 1800;
/// By memory: small limits leave out what takes its time at any size, such as the hub's answers.
const SECONDS_MIN: i32 = 600;
const SECONDS_MAX: i32 = 12 * 3600;
/// A slow line, or a hub that many pods ask at once.
const DOWNLOADED_BYTES_A_SECOND: f64 = (10 << 20) as f64;
/// From a slow network volume.
const LOADED_BYTES_A_SECOND: f64 = (50 << 20) as f64;

pub(super) fn seconds(spec: &InferenceDeploymentSpec) -> i32 {
    match weight_bytes_max(spec) {
        Some(bytes) => by_size(spec, bytes),
        None => {
            let models = i32::try_from(spec.models.len().max(1)).unwrap_or(i32::MAX);
            SECONDS_A_MODEL.saturating_mul(models).saturating_add(gpu::load_seconds(spec))
        }
    }
}

/// In whole minutes.
fn by_size(spec: &InferenceDeploymentSpec, bytes: f64) -> i32 {
    let download = if may_download(spec) { bytes / DOWNLOADED_BYTES_A_SECOND } else { 0.0 };
    let minutes = ((download + bytes / LOADED_BYTES_A_SECOND) / 60.0).ceil();
    // A float that is too large becomes the largest integer.
    (minutes as i32).saturating_mul(60).clamp(SECONDS_MIN, SECONDS_MAX)
}

/// `None` where nothing bounds them: memory of 0 is no limit.
fn weight_bytes_max(spec: &InferenceDeploymentSpec) -> Option<f64> {
    if gpu::is_asked_for(spec) {
        return None;
    }
    let limits = spec.resources.as_ref()?.limits.as_ref()?;
    quantity(&limits.get("memory")?.0).filter(|bytes| *bytes > 0.0)
}

/// A cache on the node or in a claim may be empty. An image cannot be written to.
fn may_download(spec: &InferenceDeploymentSpec) -> bool {
    let is_offline = spec.is_offline();
    let is_image = spec.cache.as_ref().is_some_and(|cache| cache.image.is_some());
    let is_path = |model: &Value| model["modelId"].as_str().is_some_and(|id| id.starts_with('/'));
    !is_offline && !is_image && !spec.models.iter().all(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_follows_the_memory_that_bounds_the_weights() {
        let memory = |limit: &str| json!({ "resources": { "limits": { "memory": limit } } });
        let with = |limit: &str, name: &str, value: Value| {
            let mut fields = memory(limit);
            fields[name] = value;
            fields
        };
        let hub = ["a/b"].as_slice();
        let path = ["/models/a.gguf"].as_slice();
        let image = json!({ "image": { "reference": "r" } });
        let offline = |enabled: bool| json!({ "enabled": enabled, "offline": true });
        let gpu = json!({ "limits": { "memory": "64Gi", "nvidia.com/gpu": "1" } });
        let no_gpu = json!({ "limits": { "memory": "64Gi", "nvidia.com/gpu": "0" } });
        let cases = [
            // Nothing bounds the weights.
            (hub, json!({}), 1800),
            (path, json!({}), 1800),
            (&["a", "b"], json!({}), 3600),
            (hub, json!({ "resources": { "requests": { "memory": "64Gi" } } }), 1800),
            (hub, memory("0"), 1800),
            (hub, json!({ "resources": gpu }), 1974),
            (path, json!({ "resources": gpu }), 1974),
            // 64 GiB take 6554 s at 10 MiB/s and 1311 s at 50 MiB/s.
            (hub, memory("64Gi"), 7920),
            (hub, memory("68719476736"), 7920),
            (hub, json!({ "resources": no_gpu }), 7920),
            (&["a", "b"], memory("64Gi"), 7920),
            (&["a/b", "/models/a.gguf"], memory("64Gi"), 7920),
            (path, memory("64Gi"), 1320),
            (hub, with("64Gi", "cache", image), 1320),
            (hub, with("64Gi", "cache", json!({ "hostPath": { "path": "/x" } })), 7920),
            (hub, with("64Gi", "cache", json!({ "existingClaim": { "name": "c" } })), 7920),
            (hub, with("64Gi", "networkPolicy", offline(true)), 1320),
            (hub, with("64Gi", "networkPolicy", offline(false)), 7920),
            // The bounds.
            (hub, memory("512Mi"), 600),
            (path, memory("16Gi"), 600),
            (hub, memory("1Ti"), 43_200),
            (path, memory("1Ti"), 21_000),
            (hub, memory("9E"), 43_200),
        ];
        for (models, mut spec, expected) in cases {
            spec["models"] = models.iter().map(|id| json!({ "modelId": id })).collect();
            let parsed: InferenceDeploymentSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(seconds(&parsed), expected, "{spec}");
        }
    }
}
