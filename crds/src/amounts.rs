//! The rules of single amounts, each told by its field, as `validate` has them. Few are CEL too: its cost grows with the
//! longest name that a map could have, and its amounts are cut before a rule sees them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use ostro_config::Problem;

use crate::pods::both;
use crate::quantity::{is_cut, quantity};
use crate::rules::CelRule;
use crate::spec::{ExtraVolume, InferenceDeploymentSpec};
use crate::validate::problem;

/// Larger ones the API server itself writes in `m`: `1.4Gi` as `1503238553600m`.
const MILLI_BYTES_BELOW: f64 = 1e6;
const MILLI_BYTES: &str = "is in thousandths of a byte, which m means: write Mi for mebibytes, as in 512Mi";
const TOO_LARGE: &str = "must be below 8Ei: Kubernetes keeps no more than 2^63-1";
const NOT_WHOLE: &str = "must be a whole number: no part of a device can be had";
const NOT_AS_LIMIT: &str = "must be the same in resources.limits: devices are not lent to others";

pub(crate) fn cel_rules() -> Vec<CelRule> {
    let of = |list: &str| {
        let amounts = format!("self.resources.{list}");
        // Not `.memory`: of that the API server knows no length, by which it estimates the cost.
        let memory = format!("string({amounts}['memory'])");
        let is_set = format!("has(self.resources) && has({amounts}) && 'memory' in {amounts}");
        let is_odd = format!(
            "{memory}.endsWith('m') && quantity({memory}).isLessThan(quantity('{MILLI_BYTES_BELOW}'))"
        );
        let field = format!("resources.{list}.memory");
        CelRule::new(format!("!({is_set}) || !({is_odd})"), &field, MILLI_BYTES)
    };
    vec![of("requests"), of("limits")]
}

pub(crate) fn problems(spec: &InferenceDeploymentSpec) -> Vec<Problem> {
    let resources = spec.resources.clone().unwrap_or_default();
    let mut problems = odd_devices(&resources);
    problems.extend(milli_bytes(&resources));
    let cut = amounts(spec).into_iter().filter(|(_, amount)| is_cut(&amount.0));
    problems.extend(cut.map(|(field, amount)| told(&field, amount, TOO_LARGE)));
    problems
}

fn told(field: &str, amount: &Quantity, message: &str) -> Problem {
    Problem { value: Some(amount.0.clone()), ..problem(field, message) }
}

/// Of resources with a vendor's name.
fn odd_devices(resources: &ResourceRequirements) -> Vec<Problem> {
    let (requests, limits) = both(resources);
    let is_device = |name: &str| name.contains('/') && !name.contains("kubernetes.io/");
    let is_whole = |amount: &Quantity| quantity(&amount.0).is_some_and(|amount| amount.fract() == 0.0);
    let is_as_limit = |name: &str, amount: &Quantity| {
        limits.get(name).is_some_and(|limit| quantity(&limit.0) == quantity(&amount.0))
    };
    let mut problems = Vec::new();
    for (list, amounts) in [("requests", &requests), ("limits", &limits)] {
        for (name, amount) in amounts.iter().filter(|(name, _)| is_device(name)) {
            let field = format!("resources.{list}.{name}");
            if !is_whole(amount) {
                problems.push(told(&field, amount, NOT_WHOLE));
            } else if list == "requests" && !is_as_limit(name, amount) {
                problems.push(told(&field, amount, NOT_AS_LIMIT));
            }
        }
    }
    problems
}

fn milli_bytes(resources: &ResourceRequirements) -> Vec<Problem> {
    let (requests, limits) = both(resources);
    let is_odd = |amount: &Quantity| {
        amount.0.ends_with('m') && quantity(&amount.0).is_some_and(|bytes| bytes < MILLI_BYTES_BELOW)
    };
    let lists = [("resources.requests.memory", &requests), ("resources.limits.memory", &limits)];
    let memory = lists.into_iter().filter_map(|(field, list)| Some((field, list.get("memory")?)));
    memory
        .filter(|(_, amount)| is_odd(amount))
        .map(|(field, amount)| told(field, amount, MILLI_BYTES))
        .collect()
}

/// All that are passed on as they are written, by field. Of a variable's `divisor` the API server takes few.
fn amounts(spec: &InferenceDeploymentSpec) -> Vec<(String, &Quantity)> {
    let mut amounts = Vec::new();
    if let Some(resources) = &spec.resources {
        amounts.extend(named("resources.requests", resources.requests.as_ref()));
        amounts.extend(named("resources.limits", resources.limits.as_ref()));
    }
    if let Some(cache) = &spec.cache {
        amounts.extend(cache.volume.iter().map(|volume| ("cache.volume.size".to_owned(), &volume.size)));
        amounts.extend(cache.size_limit.iter().map(|limit| ("cache.sizeLimit".to_owned(), limit)));
    }
    for (index, ExtraVolume { volume, .. }) in spec.volumes.iter().enumerate() {
        let field = format!("volumes[{index}]");
        let limit = volume.empty_dir.as_ref().and_then(|folder| folder.size_limit.as_ref());
        amounts.extend(limit.map(|limit| (format!("{field}.emptyDir.sizeLimit"), limit)));
        let claim = volume.ephemeral.as_ref().and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
        if let Some(resources) = claim.and_then(|claim| claim.spec.resources.as_ref()) {
            let field = format!("{field}.ephemeral.volumeClaimTemplate.spec.resources");
            amounts.extend(named(&format!("{field}.requests"), resources.requests.as_ref()));
            amounts.extend(named(&format!("{field}.limits"), resources.limits.as_ref()));
        }
    }
    amounts
}

fn named<'a>(
    field: &str,
    amounts: Option<&'a BTreeMap<String, Quantity>>,
) -> impl Iterator<Item = (String, &'a Quantity)> {
    amounts.into_iter().flatten().map(move |(name, amount)| (format!("{field}.{name}"), amount))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(fields: Value, expected: &[(&str, &str)]) {
        let mut spec = fields.clone();
        spec["models"] = json!([{ "modelId": "a/b" }]);
        let found = problems(&serde_json::from_value(spec).unwrap());
        let found: Vec<(&str, &str)> =
            found.iter().map(|problem| (problem.key.as_str(), problem.message.as_str())).collect();
        assert_eq!(found, expected, "{fields}");
    }

    #[test]
    fn devices_are_whole_and_not_shared() {
        let gpu = "nvidia.com/gpu";
        let check = |resources: Value, expected: &[(&str, &str)]| {
            check(json!({ "resources": resources }), expected);
        };
        let (request, limit) =
            ("spec.resources.requests.nvidia.com/gpu", "spec.resources.limits.nvidia.com/gpu");
        check(json!({ "limits": { gpu: "1" } }), &[]);
        check(json!({ "limits": { gpu: "1000m" } }), &[]);
        check(json!({ "limits": { gpu: "2" }, "requests": { gpu: "2" } }), &[]);
        check(json!({ "limits": { gpu: "500m" } }), &[(limit, NOT_WHOLE)]);
        check(json!({ "limits": { gpu: "2" }, "requests": { gpu: "0.5" } }), &[(request, NOT_WHOLE)]);
        check(json!({ "limits": { gpu: "2" }, "requests": { gpu: "1" } }), &[(request, NOT_AS_LIMIT)]);
        check(json!({ "requests": { gpu: "1" } }), &[(request, NOT_AS_LIMIT)]);
        check(json!({ "requests": { "cpu": "500m", "hugepages-2Mi": "1Gi" } }), &[]);
    }

    #[test]
    fn what_the_api_server_would_cut_is_refused() {
        let volume = |name: &str, source: Value| json!({ "volumes": [{ "name": "v", "mountPath": "/v", name: source }] });
        let claim = json!({ "spec": { "resources": { "requests": { "storage": "AMOUNT" } } } });
        let of_claim = "volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests.storage";
        for (field, fields) in [
            ("cache.volume.size", json!({ "cache": { "volume": { "size": "AMOUNT" } } })),
            ("cache.sizeLimit", json!({ "cache": { "sizeLimit": "AMOUNT" } })),
            ("resources.requests.memory", json!({ "resources": { "requests": { "memory": "AMOUNT" } } })),
            ("resources.limits.cpu", json!({ "resources": { "limits": { "cpu": "AMOUNT" } } })),
            ("volumes[0].emptyDir.sizeLimit", volume("emptyDir", json!({ "sizeLimit": "AMOUNT" }))),
            (of_claim, volume("ephemeral", json!({ "volumeClaimTemplate": claim }))),
        ] {
            let with = |amount: &str| -> Value {
                serde_json::from_str(&fields.to_string().replace("AMOUNT", amount)).unwrap()
            };
            let field = format!("spec.{field}");
            check(with("7Ei"), &[]);
            for amount in ["8Ei", "99999999Ei", "1e30"] {
                check(with(amount), &[(field.as_str(), TOO_LARGE)]);
            }
        }
    }
}
