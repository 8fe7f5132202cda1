//! The rules of caches and of what pods may download: as CEL, and as `validate` has them.

use ostro_config::Problem;

use crate::cluster::{AccessMode, Cache, NetworkPolicyOptions, Rollout, RolloutStrategy};
use crate::messages::*;
use crate::quantity::quantity;
use crate::rules::CelRule;
use crate::spec::InferenceDeploymentSpec;
use crate::validate::broken;

const PREFETCHES: &str = "has(self.cache) && has(self.cache.prefetch) && self.cache.prefetch";
const PRUNES: &str = "has(self.cache) && has(self.cache.prune) && self.cache.prune";
const SHARED_VOLUME: &str = "(has(self.cache.volume) && \
                             !(has(self.cache.volume.perReplica) && self.cache.volume.perReplica) && \
                             !(has(self.cache.volume.accessMode) && self.cache.volume.accessMode == 'ReadWriteOncePod'))";
const SAYS_OFFLINE: &str =
    "has(self.networkPolicy) && has(self.networkPolicy.offline) && self.networkPolicy.offline";
const IS_ENABLED: &str = "has(self.networkPolicy.enabled) && self.networkPolicy.enabled";

pub(crate) fn cel_rules() -> Vec<CelRule> {
    let sources = "[has(self.cache.volume), has(self.cache.existingClaim), has(self.cache.hostPath), \
                   has(self.cache.image), has(self.cache.sizeLimit)].filter(x, x)";
    vec![
        CelRule::new(format!("!has(self.cache) || size({sources}) <= 1"), "cache", ONE_CACHE),
        CelRule::new(
            format!("!(has(self.cache) && has(self.cache.volume)) || {}", has_size("self")),
            "cache.volume.size",
            NO_SIZE,
        ),
        CelRule::new(
            format!("!({PREFETCHES}) || has(self.cache.existingClaim) || {SHARED_VOLUME}"),
            "cache.prefetch",
            NO_SHARED_CACHE,
        ),
        CelRule::new(format!("!({PRUNES}) || {SHARED_VOLUME}"), "cache.prune", NO_OWN_CACHE),
        CelRule::new(
            format!("!({PREFETCHES}) || !({SAYS_OFFLINE} && {IS_ENABLED})"),
            "cache.prefetch",
            NOTHING_TO_PREFETCH,
        ),
        CelRule::new(format!("!({SAYS_OFFLINE}) || ({IS_ENABLED})"), "networkPolicy.offline", NOT_ENABLED),
    ]
}

pub(crate) fn problems(spec: &InferenceDeploymentSpec) -> Vec<Problem> {
    let cache = spec.cache.as_ref();
    let has_own_claims = spec.volume_per_replica().is_some();
    broken([
        ("cache", ONE_CACHE, cache.is_some_and(Cache::is_ambiguous)),
        ("cache.volume.size", NO_SIZE, cache.is_some_and(Cache::has_no_size)),
        ("cache.prefetch", NO_SHARED_CACHE, spec.prefetches() && !cache.is_some_and(Cache::is_shared)),
        ("cache.prune", NO_OWN_CACHE, spec.prunes() && !cache.is_some_and(Cache::has_shared_volume)),
        ("cache.prefetch", NOTHING_TO_PREFETCH, spec.prefetches() && spec.is_offline()),
        (
            "networkPolicy.offline",
            NOT_ENABLED,
            spec.network_policy.as_ref().is_some_and(NetworkPolicyOptions::says_offline_only),
        ),
        (
            "cache.volume.perReplica",
            ONE_BY_ONE,
            has_own_claims && spec.rollout.as_ref().is_some_and(Rollout::is_of_deployments),
        ),
    ])
}

/// The API server changes no claims of a StatefulSet, and replaces its pods in one way only. A size that is none was
/// never applied: it may be put right.
pub(crate) fn per_replica_rules() -> Vec<CelRule> {
    let is_set = |of: &str| {
        format!(
            "has({of}.cache) && has({of}.cache.volume) && has({of}.cache.volume.perReplica) && {of}.cache.volume.perReplica"
        )
    };
    let class = |of: &str| {
        format!("(has({of}.cache.volume.storageClassName) ? [{of}.cache.volume.storageClassName] : [])")
    };
    let mode = |of: &str| {
        format!("(has({of}.cache.volume.accessMode) ? {of}.cache.volume.accessMode : 'ReadWriteOnce')")
    };
    let is_same = [
        format!("quantity({}).compareTo(quantity({})) == 0", size("self"), size("oldSelf")),
        format!("{} == {}", class("self"), class("oldSelf")),
        format!("{} == {}", mode("self"), mode("oldSelf")),
    ];
    vec![
        CelRule {
            rule: format!(
                "!({}) || !has(self.rollout) || !(has(self.rollout.maxSurge) || has(self.rollout.maxUnavailable) || \
                 (has(self.rollout.strategy) && self.rollout.strategy == 'Recreate'))",
                is_set("self")
            ),
            message: format!("cache.volume.perReplica {ONE_BY_ONE}"),
        },
        CelRule {
            rule: format!(
                "!({}) || !({}) || !{} || !{} || ({})",
                is_set("self"),
                is_set("oldSelf"),
                has_size("self"),
                has_size("oldSelf"),
                is_same.join(" && ")
            ),
            message: format!("cache.volume {FIXED_CLAIMS}"),
        },
    ]
}

/// A volume's size as text, since a manifest may have it as a number.
fn size(of: &str) -> String {
    format!("string({of}.cache.volume.size)")
}

/// Whether that is one.
fn has_size(of: &str) -> String {
    let size = size(of);
    format!("(isQuantity({size}) && quantity({size}).isGreaterThan(quantity('0')))")
}

impl Cache {
    fn is_ambiguous(&self) -> bool {
        let Cache { volume, existing_claim, host_path, image, size_limit, prefetch: _, prune: _ } = self;
        let set = [
            volume.is_some(),
            existing_claim.is_some(),
            host_path.is_some(),
            image.is_some(),
            size_limit.is_some(),
        ];
        set.iter().filter(|is_set| **is_set).count() > 1
    }

    fn has_no_size(&self) -> bool {
        let amount = self.volume.as_ref().map(|volume| quantity(&volume.size.0).unwrap_or_default());
        amount.is_some_and(|amount| amount <= 0.0)
    }

    fn has_shared_volume(&self) -> bool {
        self.volume.as_ref().is_some_and(|volume| {
            volume.per_replica != Some(true) && volume.access_mode != Some(AccessMode::ReadWriteOncePod)
        })
    }

    fn is_shared(&self) -> bool {
        self.has_shared_volume() || self.existing_claim.is_some()
    }
}

impl NetworkPolicyOptions {
    fn says_offline_only(&self) -> bool {
        self.offline && !self.enabled
    }
}

impl Rollout {
    /// In 1.36 a StatefulSet has `maxUnavailable` behind a feature gate only, and drops it without a word otherwise.
    fn is_of_deployments(&self) -> bool {
        self.strategy == Some(RolloutStrategy::Recreate)
            || self.max_surge.is_some()
            || self.max_unavailable.is_some()
    }
}
