//! What must hold for a spec before anything is built from it.

use std::sync::LazyLock;
use std::time::Duration;

use ostro_config::{Document, Loaded, Place, Problem, Problems};
use regex::Regex;
use serde_json::{Map, Value};

use crate::cluster::{CacheVolume, DisruptionBudget, Monitoring, Rollout, RolloutStrategy};
use crate::messages;
use crate::spec::InferenceDeploymentSpec;
use crate::{amounts, cache, lists, pods};

/// Many times what any model needs.
const SPEC_BYTES_MAX: usize = 64 << 10;

/// A spec whose rules hold, with the daemon's configuration that it asks for.
#[derive(Clone, Debug)]
pub struct ValidSpec {
    pub daemon: Loaded,
}

static LOOPBACK_HOSTS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(messages::LOOPBACKS).expect("a test compiles it"));

impl InferenceDeploymentSpec {
    /// Every rule, those of the daemon's tables first.
    pub fn validate(&self) -> Result<ValidSpec, Problems> {
        let daemon = Document::from_spec(&self.daemon_fields()).and_then(Loaded::from_document);
        let mut problems = match &daemon {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.clone(),
        };
        problems.extend(self.size_problem());
        problems.extend(cache::problems(self));
        problems.extend(self.model_problems());
        problems.extend(self.cluster_problems());
        problems.extend(self.monitoring_problems());
        problems.extend(pods::problems(self));
        problems.extend(lists::problems(self));
        problems.extend(amounts::problems(self));
        match daemon {
            Ok(daemon) if problems.is_empty() => Ok(ValidSpec { daemon }),
            _ => Err(Problems(problems)),
        }
    }

    fn size_problem(&self) -> Option<Problem> {
        too_large(serde_json::to_vec(self).expect("it came as JSON").len())
    }

    /// The volume that each replica has of its own, if it has.
    pub fn volume_per_replica(&self) -> Option<&CacheVolume> {
        self.cache.as_ref()?.volume.as_ref().filter(|volume| volume.per_replica == Some(true))
    }

    /// Whether models are downloaded before pods start.
    pub fn prefetches(&self) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.prefetch == Some(true))
    }

    /// Whether models that are not needed any more are removed from the cache.
    pub fn prunes(&self) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.prune == Some(true))
    }

    /// Whether pods may download nothing.
    pub fn is_offline(&self) -> bool {
        self.network_policy.as_ref().is_some_and(|policy| policy.enabled && policy.offline)
    }

    /// What the API server's rule says, for where it saw each of two changes and nobody acted in between.
    pub fn fixed_claims() -> Problems {
        Problems(vec![problem("cache.volume", messages::FIXED_CLAIMS)])
    }

    /// The daemon's part of the spec, as it was written.
    pub fn daemon_fields(&self) -> Map<String, Value> {
        let tables = [
            ("global", &self.global),
            ("runtime", &self.runtime),
            ("server", &self.server),
            ("pagedAttn", &self.paged_attn),
            ("sandbox", &self.sandbox),
        ];
        let mut fields = Map::new();
        fields.extend(self.default_model_id.clone().map(|id| ("defaultModelId".to_owned(), id.into())));
        let tables =
            tables.into_iter().filter_map(|(name, table)| Some((name.to_owned(), table.clone()?.into())));
        fields.extend(tables);
        fields.insert("models".to_owned(), self.models.clone().into());
        fields
    }

    /// Neither the hub nor a file has such an id; a folder's name may end with a blank.
    fn model_problems(&self) -> Vec<Problem> {
        let is_odd = |id: &str| !id.starts_with('/') && (id.trim_matches(' ') != id || id.contains("://"));
        let ids = self.models.iter().map(|model| model["modelId"].as_str().unwrap_or_default());
        let odd = ids.enumerate().filter(|(_, id)| is_odd(id));
        odd.map(|(index, _)| problem(&format!("models[{index}].modelId"), messages::NO_MODEL_ID)).collect()
    }

    fn cluster_problems(&self) -> Vec<Problem> {
        use messages::*;
        let text = |table: &Option<Map<String, Value>>, name: &str| {
            table.as_ref()?.get(name)?.as_str().map(str::to_owned)
        };
        let port = self.server.as_ref().and_then(|server| server.get("port")).and_then(Value::as_i64);
        let host = text(&self.server, "host").unwrap_or_default();
        let token_source = text(&self.global, "tokenSource");
        let names = || self.volumes.iter().map(|volume| volume.volume.name.as_str());
        let is_literal = token_source.as_ref().is_some_and(|source| source.starts_with("literal:"));
        let is_loopback = LOOPBACK_HOSTS.is_match(&host);
        broken([
            (
                "disruptionBudget",
                ONE_BUDGET,
                self.disruption_budget.as_ref().is_some_and(DisruptionBudget::is_double),
            ),
            ("rollout.strategy", RECREATE, self.rollout.as_ref().is_some_and(Rollout::is_contradictory)),
            ("server.port", FREE_PORT, port == Some(0)),
            ("server.host", LOOPBACK, is_loopback),
            ("global.tokenSource", LITERAL_TOKEN, is_literal),
            ("huggingFaceToken", TWO_TOKENS, self.hugging_face_token.is_some() && token_source.is_some()),
            ("volumes", SAME_NAME, pods::is_double(names())),
            ("volumes", RESERVED_VOLUME, names().any(|name| RESERVED_VOLUMES.contains(&name))),
        ])
    }

    fn monitoring_problems(&self) -> Vec<Problem> {
        use messages::*;
        let Some(monitoring) = &self.monitoring else { return Vec::new() };
        let disabled = self.server.as_ref().and_then(|server| server.get("disableMetrics"));
        let [interval, timeout] =
            [&monitoring.interval, &monitoring.scrape_timeout].map(|text| text.as_deref().map(duration));
        broken([
            ("monitoring.interval", NOT_A_DURATION, interval == Some(None)),
            ("monitoring.scrapeTimeout", NOT_A_DURATION, timeout == Some(None)),
            ("monitoring.scrapeTimeout", SLOW_SCRAPE, is_longer(timeout.flatten(), interval.flatten())),
            ("monitoring.labels", RESERVED_LABEL, monitoring.takes_labels()),
            ("monitoring", NO_METRICS, disabled.and_then(Value::as_bool) == Some(true)),
        ])
    }
}

/// A spec of so many bytes of JSON, which is in objects of several kinds, and in the operator's memory, once more.
pub fn too_large(bytes: usize) -> Option<Problem> {
    (bytes > SPEC_BYTES_MAX).then(|| Problem {
        place: Place::Default,
        key: "spec".to_owned(),
        value: None,
        message: format!("must have at most {SPEC_BYTES_MAX} bytes as JSON, and has {bytes}"),
    })
}

/// Of fields with a message and whether it holds.
pub(crate) fn broken<const N: usize>(rules: [(&str, &str, bool); N]) -> Vec<Problem> {
    let broken = rules.into_iter().filter(|(_, _, is_broken)| *is_broken);
    broken.map(|(field, message, _)| problem(field, message)).collect()
}

pub(crate) fn problem(field: &str, message: &str) -> Problem {
    Problem { place: Place::Default, key: format!("spec.{field}"), value: None, message: message.to_owned() }
}

fn is_longer(one: Option<Duration>, other: Option<Duration>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one > other)
}

/// As `cluster::DURATION` takes it.
fn duration(text: &str) -> Option<Duration> {
    let mut units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)].into_iter();
    let (mut rest, mut milliseconds) = (text, 0);
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = &after[..after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len())];
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        if digits.starts_with('0') || !(1..=6).contains(&digits.len()) {
            return None;
        }
        milliseconds += digits.parse::<u64>().ok()? * factor;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(milliseconds))
}

impl Monitoring {
    fn takes_labels(&self) -> bool {
        messages::RESERVED_LABELS.iter().any(|label| self.labels.contains_key(*label))
    }
}

impl DisruptionBudget {
    fn is_double(&self) -> bool {
        self.min_available.is_some() && self.max_unavailable.is_some()
    }
}

impl Rollout {
    fn is_contradictory(&self) -> bool {
        self.strategy == Some(RolloutStrategy::Recreate)
            && (self.max_surge.is_some() || self.max_unavailable.is_some())
    }
}

#[cfg(test)]
mod tests {
    use kube::core::cel::Validator;
    use serde_json::json;

    use super::*;
    use crate::cluster::DURATION;

    #[test]
    fn durations_are_those_of_the_schema() {
        let cases = [
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1h2m3s4ms", Some(3_723_004)),
            ("90m", Some(5_400_000)),
            ("", None),
            ("30", None),
            ("s", None),
            ("0s", None),
            ("05s", None),
            ("1234567s", None),
            ("1.5s", None),
            ("1s1m", None),
            ("1s1s", None),
            ("1d", None),
            ("30 s", None),
            ("30µs", None),
            ("-1s", None),
        ];
        let rule = json!([{ "rule": format!("self != '' && self.matches('{DURATION}')"), "message": "no" }]);
        let schema = json!({ "type": "string", "x-kubernetes-validations": rule });
        for (text, expected) in cases {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
            let is_match = Validator::new().validate(&schema, &json!(text), None).is_ok();
            assert_eq!(is_match, expected.is_some(), "{text}");
        }
    }
}
