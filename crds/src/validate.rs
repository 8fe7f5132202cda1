//! What must hold for a spec before anything is built from it.

use std::collections::BTreeSet;

use ostro_config::{Document, Loaded, Place, Problem, Problems};
use serde_json::{Map, Value};

use crate::cluster::{Cache, DisruptionBudget, Rollout, RolloutStrategy};
use crate::spec::InferenceDeploymentSpec;

/// A spec whose rules hold, with the daemon's configuration that it asks for.
#[derive(Clone, Debug)]
pub struct ValidSpec {
    pub daemon: Loaded,
}

/// Messages of the rules that only a cluster has; each continues the field's name.
pub(crate) mod cluster_messages {
    pub(crate) const RESERVED_VOLUMES: [&str; 4] = ["config", "cache", "tmp", "shm"];
    pub(crate) const ONE_CACHE: &str =
        "must have at most one of volume, existingClaim, hostPath, image and sizeLimit";
    pub(crate) const ONE_BUDGET: &str = "must not have both minAvailable and maxUnavailable";
    pub(crate) const RECREATE: &str = "Recreate has neither maxSurge nor maxUnavailable";
    pub(crate) const FREE_PORT: &str = "must not be 0: the Service needs a fixed port";
    pub(crate) const LOOPBACK: &str = "must be reachable from outside of the pod";
    pub(crate) const LITERAL_TOKEN: &str = "must not hold a token: name a Secret in huggingFaceToken";
    pub(crate) const TWO_TOKENS: &str = "conflicts with global.tokenSource";
    pub(crate) const SAME_VOLUME: &str = "must not have a name twice";
    pub(crate) const RESERVED_VOLUME: &str = "must not take the operator's names: config, cache, tmp, shm";
}

impl InferenceDeploymentSpec {
    /// Every rule, those of the daemon's tables first.
    pub fn validate(&self) -> Result<ValidSpec, Problems> {
        let daemon = Document::from_spec(&self.daemon_fields()).and_then(Loaded::from_document);
        let mut problems = match &daemon {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.clone(),
        };
        problems.extend(self.cluster_problems());
        match daemon {
            Ok(daemon) if problems.is_empty() => Ok(ValidSpec { daemon }),
            _ => Err(Problems(problems)),
        }
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

    fn cluster_problems(&self) -> Vec<Problem> {
        use cluster_messages::*;
        let text = |table: &Option<Map<String, Value>>, name: &str| {
            table.as_ref()?.get(name)?.as_str().map(str::to_owned)
        };
        let port = self.server.as_ref().and_then(|server| server.get("port")).and_then(Value::as_i64);
        let host = text(&self.server, "host").unwrap_or_default();
        let token_source = text(&self.global, "tokenSource");
        let names: BTreeSet<&str> = self.volumes.iter().map(|volume| volume.volume.name.as_str()).collect();
        let is_literal = token_source.as_ref().is_some_and(|source| source.starts_with("literal:"));
        let is_loopback = host.starts_with("127.") || ["localhost", "::1"].contains(&host.as_str());
        [
            ("cache", ONE_CACHE, self.cache.as_ref().is_some_and(Cache::is_ambiguous)),
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
            ("volumes", SAME_VOLUME, names.len() < self.volumes.len()),
            ("volumes", RESERVED_VOLUME, RESERVED_VOLUMES.iter().any(|name| names.contains(name))),
        ]
        .into_iter()
        .filter(|(_, _, is_broken)| *is_broken)
        .map(|(field, message, _)| Problem {
            place: Place::Default,
            key: format!("spec.{field}"),
            value: None,
            message: message.to_owned(),
        })
        .collect()
    }
}

impl Cache {
    fn is_ambiguous(&self) -> bool {
        let Cache { volume, existing_claim, host_path, image, size_limit } = self;
        let set = [
            volume.is_some(),
            existing_claim.is_some(),
            host_path.is_some(),
            image.is_some(),
            size_limit.is_some(),
        ];
        set.iter().filter(|is_set| **is_set).count() > 1
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
