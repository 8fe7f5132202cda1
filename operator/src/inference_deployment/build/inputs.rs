//! Which of a spec's fields pods depend on. A hash of them tells a change of the spec from one of the operator: this
//! hash must not change with the operator, or every pod of a cluster is replaced.

use ostro_crds::{Cache, CacheVolume, InferenceDeploymentSpec};
use serde_json::{Value, json};

use super::content_hash;

pub(crate) fn inputs_hash(spec: &InferenceDeploymentSpec) -> String {
    // Not `..`: whoever adds a field says whether it reaches the pods. A new one is null where it is absent, which the
    // hash does not see.
    let InferenceDeploymentSpec {
        models,
        default_model_id,
        paged_attn,
        sandbox,
        server,
        runtime,
        global,
        replicas: _,
        image,
        image_pull_policy,
        image_pull_secrets,
        resources,
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
        runtime_class_name,
        service_account_name,
        cache,
        volumes,
        hugging_face_token,
        env,
        probes,
        rollout,
        disruption_budget: _,
        // By `isOffline`.
        network_policy: _,
        service: _,
        monitoring: _,
        pod_template_patch,
    } = spec;
    content_hash(&json!({
        "models": models,
        "defaultModelId": default_model_id,
        "pagedAttn": paged_attn,
        "sandbox": sandbox,
        "server": server,
        "runtime": runtime,
        "global": global,
        "image": image,
        "imagePullPolicy": image_pull_policy,
        "imagePullSecrets": image_pull_secrets,
        "resources": resources,
        "nodeSelector": node_selector,
        "tolerations": tolerations,
        "affinity": affinity,
        "topologySpreadConstraints": topology_spread_constraints,
        "priorityClassName": priority_class_name,
        "runtimeClassName": runtime_class_name,
        "serviceAccountName": service_account_name,
        "cache": cache.as_ref().map(cache_inputs),
        "cachePerReplica": spec.volume_per_replica().map(claim_inputs),
        "volumes": volumes,
        "huggingFaceToken": hugging_face_token,
        "env": env,
        "probes": probes,
        "drainSeconds": rollout.as_ref().and_then(|rollout| rollout.drain_seconds),
        "isOffline": spec.is_offline(),
        // A null in it deletes: as a text it is seen.
        "podTemplatePatch": pod_template_patch.clone().map(|mut patch| {
            patch.sort_keys();
            patch.values_mut().for_each(Value::sort_all_objects);
            Value::from(patch).to_string()
        }),
    }))
}

/// Of a new claim only its name reaches the pods, unless each of them has its own.
fn cache_inputs(cache: &Cache) -> Value {
    let Cache { volume, existing_claim, host_path, image, size_limit, prefetch: _, prune: _ } = cache;
    json!([volume.is_some(), existing_claim, host_path, image, size_limit])
}

fn claim_inputs(volume: &CacheVolume) -> Value {
    let CacheVolume { size, storage_class_name, access_mode, per_replica: _ } = volume;
    json!([size, storage_class_name, access_mode])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(fields: Value) -> String {
        let mut spec = json!({ "models": [{ "modelId": "a/b", "dtype": "f32" }] });
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        inputs_hash(&serde_json::from_value(spec).unwrap())
    }

    /// A failure means that the next release restarts everybody's pods.
    #[test]
    fn the_hash_is_that_of_earlier_versions() {
        assert_eq!(hash(json!({})), "82a2041fe0c9887d");
        let many = json!({
            "runtime": { "maxSeqs": 4 }, "cache": { "volume": { "size": "1Gi" } }, "env": [{ "name": "A", "value": "1" }],
            "networkPolicy": { "enabled": true }, "rollout": { "strategy": "Recreate" }, "image": "x",
            "resources": { "limits": { "cpu": "1" } }, "podTemplatePatch": { "spec": { "hostname": null } },
        });
        assert_eq!(hash(many), "9c73ccdc51c71cc4");
    }

    #[test]
    fn only_what_reaches_pods_is_a_change() {
        let same = [
            json!({ "replicas": 4 }),
            json!({ "service": { "port": 81 } }),
            json!({ "monitoring": {} }),
            json!({ "disruptionBudget": { "minAvailable": 1 } }),
            json!({ "networkPolicy": { "enabled": true, "offline": false } }),
            json!({ "networkPolicy": { "enabled": false, "offline": true } }),
            json!({ "rollout": { "strategy": "Recreate", "hold": "All" } }),
            json!({ "models": [{ "dtype": "f32", "modelId": "a/b" }] }),
        ];
        for fields in same {
            assert_eq!(hash(fields.clone()), hash(json!({})), "{fields}");
        }
        let other = [
            json!({ "models": [{ "modelId": "a/b" }] }),
            json!({ "networkPolicy": { "enabled": true, "offline": true } }),
            json!({ "rollout": { "drainSeconds": 5 } }),
            json!({ "cache": { "volume": { "size": "1Gi" } } }),
            json!({ "podTemplatePatch": { "spec": { "hostNetwork": null } } }),
            json!({ "image": "x" }),
            json!({ "env": [{ "name": "A" }] }),
        ];
        for fields in other {
            assert_ne!(hash(fields.clone()), hash(json!({})), "{fields}");
        }
        let size = |size: &str, own: bool| {
            hash(json!({ "cache": { "volume": { "size": size, "perReplica": own } } }))
        };
        assert_eq!(size("1Gi", false), size("2Gi", false));
        assert_ne!(size("1Gi", true), size("1Gi", false));
        assert_ne!(size("1Gi", true), size("2Gi", true));
    }
}
