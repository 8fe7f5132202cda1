//! The rules between fields as CEL, beside those of `validate`. Partners of the daemon's keys are read from the keys
//! themselves; a test holds both to the same verdicts.

use ostro_config::keys::{Key, Kind, key, keys};
use ostro_config::manifest::in_manifest;
use ostro_config::{messages, to_camel};

use crate::messages as cluster;
use crate::{amounts, cache, lists, pods};

/// One of the spec's `x-kubernetes-validations`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CelRule {
    pub(crate) rule: String,
    pub(crate) message: String,
}

impl CelRule {
    /// `message` continues the field's name.
    pub(crate) fn new(rule: impl Into<String>, field: &str, message: &str) -> CelRule {
        CelRule { rule: rule.into(), message: format!("{field} {message}") }
    }
}

pub(crate) fn rules() -> Vec<CelRule> {
    let mut rules: Vec<CelRule> = keys().iter().flat_map(partner_rules).collect();
    rules.extend(daemon_rules());
    rules.extend(cache::cel_rules());
    rules.extend(cluster_rules());
    rules.extend(pods::cel_rules());
    rules.extend(lists::cel_rules());
    rules.extend(amounts::cel_rules());
    rules.extend(monitoring_rules());
    rules.extend(cache::per_replica_rules());
    rules
}

fn partner_rules(of: &Key) -> Vec<CelRule> {
    let mut rules = Vec::new();
    if is_run_only(of) {
        return rules;
    }
    let name = to_camel(&of.path);
    let set = is_set(of);
    if !of.requires.is_empty() {
        let partners: Vec<String> =
            of.requires.iter().filter_map(|partner| key(partner)).map(is_set).collect();
        let message = format!("{name} {}", in_manifest(&messages::requires(of)));
        rules.push(for_models(&format!("!({set}) || {}", partners.join(" || ")), message));
    }
    for partner in of.conflicts.iter().filter_map(|partner| key(partner)) {
        let message = format!("{name} {}", in_manifest(&messages::conflicts(&partner.path)));
        rules.push(for_models(&format!("!({set}) || !({})", is_set(partner)), message));
    }
    rules
}

/// Keys of `ostro run`, which no pod runs.
fn is_run_only(key: &Key) -> bool {
    key.command == Some(ostro_config::Command::Run)
}

/// Whether a key is set, in the model `m` or in the spec.
fn is_set(key: &Key) -> String {
    let path = to_camel(&key.path);
    let (base, path) = match path.strip_prefix("models.") {
        Some(rest) => ("m".to_owned(), rest.to_owned()),
        None => ("self".to_owned(), path),
    };
    let mut at = base;
    let mut parts = Vec::new();
    for name in path.split('.') {
        at = format!("{at}.{name}");
        parts.push(format!("has({at})"));
    }
    match key.kind {
        Kind::Switch => parts.push(at),
        Kind::List(_) | Kind::Tables(_) => parts.push(format!("size({at}) > 0")),
        _ => {}
    }
    format!("({})", parts.join(" && "))
}

/// A rule that speaks of a model holds for all of them.
fn for_models(rule: &str, message: String) -> CelRule {
    let rule = if rule.contains("has(m.") { format!("self.models.all(m, {rule})") } else { rule.to_owned() };
    CelRule { rule, message }
}

fn daemon_rules() -> Vec<CelRule> {
    let rule = |rule: &str, field: &str, message: &str| CelRule::new(rule, field, &in_manifest(message));
    let cpu = |model: &str| format!("has({model}.device) && has({model}.device.cpu)");
    let same_cpu = format!(
        "self.models.all(m, !({}) || self.models.all(n, !({}) || n.device.cpu == m.device.cpu))",
        cpu("m"),
        cpu("n")
    );
    let lora = "has(m.adapter) && has(m.adapter.lora)";
    let mut rules = vec![
        rule("size(self.models) > 0", "models", messages::NO_MODEL),
        rule(
            "self.models.all(m, self.models.exists_one(n, n.modelId == m.modelId))",
            "models.modelId",
            messages::SAME_MODEL,
        ),
        rule(
            "!has(self.defaultModelId) || self.models.exists(m, m.modelId == self.defaultModelId)",
            "defaultModelId",
            messages::NO_SUCH_MODEL,
        ),
        rule(&same_cpu, "models.device.cpu", messages::OTHER_CPU),
        rule(
            "!(has(self.server) && has(self.server.mcpPort)) || self.server.mcpPort != \
             (has(self.server.port) ? self.server.port : 1234)",
            "server.mcpPort",
            messages::SAME_PORT,
        ),
        rule(
            &format!(
                "self.models.all(m, !({lora}) || m.adapter.lora.all(l, m.adapter.lora.exists_one(k, k.alias == l.alias)))"
            ),
            "models.adapter.lora",
            messages::SAME_ALIAS,
        ),
    ];
    rules.extend(["legacyLora", "xlora"].map(|field| {
        rule(
            &format!(
                "self.models.all(m, !(has(m.kind) && m.kind == 'multimodal' && has(m.adapter) && has(m.adapter.{field})))"
            ),
            &format!("models.adapter.{field}"),
            messages::NOT_MULTIMODAL,
        )
    }));
    rules
}

fn cluster_rules() -> Vec<CelRule> {
    let reserved = cluster::RESERVED_VOLUMES.map(|name| format!("'{name}'")).join(", ");
    vec![
        CelRule::new(
            "self.models.all(m, m.modelId.startsWith('/') || !(m.modelId.startsWith(' ') || \
             m.modelId.endsWith(' ') || m.modelId.contains('://')))",
            "models.modelId",
            cluster::NO_MODEL_ID,
        ),
        CelRule::new(
            "!has(self.disruptionBudget) || !(has(self.disruptionBudget.minAvailable) && \
             has(self.disruptionBudget.maxUnavailable))",
            "disruptionBudget",
            cluster::ONE_BUDGET,
        ),
        CelRule::new(
            "!has(self.rollout) || !has(self.rollout.strategy) || self.rollout.strategy != 'Recreate' || \
             !(has(self.rollout.maxSurge) || has(self.rollout.maxUnavailable))",
            "rollout.strategy",
            cluster::RECREATE,
        ),
        CelRule::new(
            "!(has(self.server) && has(self.server.port)) || self.server.port != 0",
            "server.port",
            cluster::FREE_PORT,
        ),
        CelRule::new(
            format!(
                "!(has(self.server) && has(self.server.host)) || !self.server.host.matches({:?})",
                cluster::LOOPBACKS
            ),
            "server.host",
            cluster::LOOPBACK,
        ),
        CelRule::new(
            "!(has(self.global) && has(self.global.tokenSource)) || \
             !self.global.tokenSource.startsWith('literal:')",
            "global.tokenSource",
            cluster::LITERAL_TOKEN,
        ),
        CelRule::new(
            "!has(self.huggingFaceToken) || !(has(self.global) && has(self.global.tokenSource))",
            "huggingFaceToken",
            cluster::TWO_TOKENS,
        ),
        CelRule::new(
            "!has(self.volumes) || self.volumes.all(v, self.volumes.exists_one(w, w.name == v.name))",
            "volumes",
            cluster::SAME_NAME,
        ),
        CelRule::new(
            format!("!has(self.volumes) || self.volumes.all(v, !(v.name in [{reserved}]))"),
            "volumes",
            cluster::RESERVED_VOLUME,
        ),
    ]
}

fn monitoring_rules() -> Vec<CelRule> {
    let rule = |rule: &str, field: &str, message: &str| {
        CelRule::new(format!("!has(self.monitoring) || {rule}"), field, message)
    };
    let reserved = cluster::RESERVED_LABELS.map(|label| format!("'{label}' in self.monitoring.labels"));
    vec![
        rule(
            "!has(self.monitoring.interval) || !has(self.monitoring.scrapeTimeout) || \
             duration(self.monitoring.scrapeTimeout) <= duration(self.monitoring.interval)",
            "monitoring.scrapeTimeout",
            cluster::SLOW_SCRAPE,
        ),
        rule(
            &format!("!has(self.monitoring.labels) || !({})", reserved.join(" || ")),
            "monitoring.labels",
            cluster::RESERVED_LABEL,
        ),
        rule(
            "!(has(self.server) && has(self.server.disableMetrics) && self.server.disableMetrics)",
            "monitoring",
            cluster::NO_METRICS,
        ),
    ]
}
