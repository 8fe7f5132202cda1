//! The rules of single amounts, each told by its field, as `validate` has them. Those of devices are not CEL too, whose
//! cost grows with the longest name that a map could have.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use ostro_config::Problem;

use crate::pods::both;
use crate::quantity::quantity;
use crate::rules::CelRule;
use crate::spec::InferenceDeploymentSpec;
use crate::validate::problem;

/// Larger ones the API server itself writes in `m`: `1.4Gi` as `1503238553600m`.
const MILLI_BYTES_BELOW: f64 = 1e6;
const MILLI_BYTES: &str = "is in thousandths of a byte, which m means: write Mi for mebibytes, as in 512Mi";
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
}
