//! Rules for the keys of maps, and for lists that Kubernetes merges by a key of their items.

use ostro_config::Problem;

use crate::messages::SAME_NAME;
use crate::pods::{both, each, is_double};
use crate::rules::CelRule;
use crate::spec::InferenceDeploymentSpec;
use crate::validate::broken;

pub(crate) const NOT_QUALIFIED: &str =
    "must have keys of letters, digits and inner -, _ and ., after a domain and / or without";
const SAME_SPREAD: &str = "must not have a topologyKey twice with the same whenUnsatisfiable";

pub(crate) fn cel_rules() -> Vec<CelRule> {
    let is_single =
        |list: &str, is_same: &str| each(list, "a", &format!("self.{list}.exists_one(b, {is_same})"));
    let spread = "a.topologyKey == b.topologyKey && a.whenUnsatisfiable == b.whenUnsatisfiable";
    vec![
        CelRule::new(is_single("imagePullSecrets", "a.name == b.name"), "imagePullSecrets", SAME_NAME),
        CelRule::new(
            is_single("topologySpreadConstraints", spread),
            "topologySpreadConstraints",
            SAME_SPREAD,
        ),
    ]
}

pub(crate) fn problems(spec: &InferenceDeploymentSpec) -> Vec<Problem> {
    let (requests, limits) = both(&spec.resources.clone().unwrap_or_default());
    let mut annotations = spec.service.iter().flat_map(|service| service.annotations.keys());
    let mut labels = spec.monitoring.iter().flat_map(|monitoring| monitoring.labels.keys());
    let spreads =
        spec.topology_spread_constraints.iter().map(|one| (&one.topology_key, &one.when_unsatisfiable));
    broken([
        ("nodeSelector", NOT_QUALIFIED, !spec.node_selector.keys().all(|key| is_qualified(key))),
        (
            "service.annotations",
            NOT_QUALIFIED,
            !annotations.all(|key| is_qualified(&key.to_ascii_lowercase())),
        ),
        ("monitoring.labels", NOT_QUALIFIED, !labels.all(|key| is_qualified(key))),
        ("resources.limits", NOT_QUALIFIED, !limits.keys().all(|key| is_qualified(key))),
        ("resources.requests", NOT_QUALIFIED, !requests.keys().all(|key| is_qualified(key))),
        ("imagePullSecrets", SAME_NAME, is_double(spec.image_pull_secrets.iter().map(|secret| &secret.name))),
        ("topologySpreadConstraints", SAME_SPREAD, is_double(spreads)),
    ])
}

/// Kubernetes' qualified name. Not as CEL, whose cost grows with the longest key that a map could have.
pub(crate) fn is_qualified(key: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = |name: &str, most: usize| {
        let ends = [name.chars().next(), name.chars().next_back()];
        let has_ends = ends.iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()));
        has_ends && name.len() <= most && name.chars().all(is_inner)
    };
    let is_part = |part: &str| is_name(part, 253) && !part.contains('_') && part == part.to_lowercase();
    match key.split_once('/') {
        Some((domain, name)) => domain.len() <= 253 && domain.split('.').all(is_part) && is_name(name, 63),
        None => is_name(key, 63),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_may_have_capitals_in_their_domain() {
        let problems = |key: &str| {
            let service = serde_json::json!({ "annotations": { key: "x" } });
            let spec = serde_json::json!({ "models": [], "service": service });
            problems(&serde_json::from_value(spec).unwrap()).len()
        };
        assert_eq!([problems("Example.com/a"), problems("a b")], [0, 1]);
    }

    #[test]
    fn keys_are_qualified_names() {
        for key in ["a", "A.b_c-d", "kubernetes.io/os", "x.y/Z_9", "nvidia.com/mig-1g.10gb", &"a".repeat(63)]
        {
            assert!(is_qualified(key), "{key}");
        }
        for key in
            ["", "a b", "/a", "a/", "a/b/c", "-a", "a.", "A.b/c", "a_b/c", "a..b/c", "ä", &"a".repeat(64)]
        {
            assert!(!is_qualified(key), "{key}");
        }
    }
}
