//! The rules between keys, beyond what the types hold. Also for configurations that come from no file.

use std::collections::BTreeSet;
use std::path::Path;

use toml::Value;

use crate::keys::{Key, key, keys};
use crate::problem::Violation;
use crate::{Command, DaemonConfig, ModelConfig, ModelKind};

/// What a broken rule says after the key's name. The CRD's rules say the same.
pub mod messages {
    use super::{Key, named};

    pub const NO_MODEL: &str = "is missing: at least one [[models]] entry is needed, or --model-id";
    pub const SAME_MODEL: &str = "is the id of an earlier model; each model needs its own";
    /// The names that there are follow.
    pub const NO_SUCH_MODEL: &str = "must be the model_id of a [[models]] entry";
    /// What the earlier one says follows.
    pub const OTHER_CPU: &str = "must be the same for all models";
    pub const SAME_PORT: &str = "must differ from server.port";
    pub const LONG_ALIAS: &str = "has an alias longer than 256 bytes";
    /// The alias stands inside.
    pub const SAME_ALIAS: &str = "has an alias twice";
    pub const NO_TEMPLATE: &str = "must end in .jinja or .json";
    pub const NOT_MULTIMODAL: &str = "is not for multimodal models; use models.adapter.lora";

    /// None of a key's partners is set.
    pub fn requires(key: &Key) -> String {
        let partners: Vec<String> = key.requires.iter().map(|partner| named(partner)).collect();
        format!("requires {}", partners.join(" or "))
    }

    /// A key is set that excludes this one.
    pub fn conflicts(partner: &str) -> String {
        format!("conflicts with {}", named(partner))
    }
}

impl DaemonConfig {
    /// Every rule that is broken.
    pub fn validate(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        self.check_models(&mut violations);
        self.check_cpu(&mut violations);
        self.check_ports(&mut violations);
        self.check_adapter(&mut violations);
        self.check_templates(&mut violations);
        for (index, model) in self.models.iter().enumerate() {
            check_model_adapters(index, model, &mut violations);
        }
        let values = Values::of(self);
        for key in keys() {
            for path in values.instances(&key.path) {
                check_partners(&values, key, &path, &mut violations);
                check_command(self.command, &values, key, &path, &mut violations);
            }
        }
        violations
    }

    fn check_models(&self, violations: &mut Vec<Violation>) {
        if self.models.is_empty() {
            violations.push(Violation::new("models", messages::NO_MODEL));
        }
        let mut names = BTreeSet::new();
        for (index, model) in self.models.iter().enumerate() {
            if !names.insert(&model.model_id) {
                violations.push(Violation::new(format!("models[{index}].model_id"), messages::SAME_MODEL));
            }
        }
        if self.default_model_id.as_ref().is_some_and(|id| !names.contains(id)) {
            let names: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_str())).collect();
            let message = format!("{}: {}", messages::NO_SUCH_MODEL, names.join(", "));
            violations.push(Violation::new("default_model_id", message));
        }
        if self.command == Command::Run && self.models.len() > 1 {
            violations
                .push(Violation::new("models[1]", "is one model too many: command = \"run\" takes one"));
        }
    }

    fn check_cpu(&self, violations: &mut Vec<Violation>) {
        let set = |model: &ModelConfig| model.device.cpu;
        let first = self.models.iter().find_map(set);
        for (index, model) in self.models.iter().enumerate() {
            if let (Some(cpu), Some(first)) = (set(model), first)
                && cpu != first
            {
                let message = format!("{}, and an earlier one says {first}", messages::OTHER_CPU);
                violations.push(Violation::new(format!("models[{index}].device.cpu"), message));
            }
        }
    }

    /// What a file is for is told by its name, where a model reads it.
    fn check_templates(&self, violations: &mut Vec<Violation>) {
        let mut told = BTreeSet::new();
        for (key, file) in (0..self.models.len()).filter_map(|index| self.template(index)) {
            if !is_template(file) && told.insert(key.clone()) {
                violations.push(Violation::new(key, messages::NO_TEMPLATE));
            }
        }
    }

    fn check_ports(&self, violations: &mut Vec<Violation>) {
        if self.server.mcp_port.is_some_and(|port| port.get() == self.server.port.get()) {
            violations.push(Violation::new("server.mcp_port", messages::SAME_PORT));
        }
    }

    fn check_adapter(&self, violations: &mut Vec<Violation>) {
        let Some(adapter) = &self.adapter else { return };
        let loaded = self.models.iter().flat_map(|model| &model.adapter.lora);
        if !loaded.into_iter().any(|lora| lora.alias == *adapter) {
            violations
                .push(Violation::new("adapter", "must be the alias of an entry of models.adapter.lora"));
        }
    }
}

/// As the engine reads them; a test of the daemon holds both together.
fn is_template(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("jinja" | "jinja2" | "j2" | "json"))
}

fn check_model_adapters(index: usize, model: &ModelConfig, violations: &mut Vec<Violation>) {
    let path = format!("models[{index}].adapter");
    let mut aliases = BTreeSet::new();
    for lora in &model.adapter.lora {
        if lora.alias.as_str().len() > 256 {
            violations.push(Violation::new(format!("{path}.lora"), messages::LONG_ALIAS));
        }
        if !aliases.insert(&lora.alias) {
            let message = format!("{}: {:?}", messages::SAME_ALIAS, lora.alias.as_str());
            violations.push(Violation::new(format!("{path}.lora"), message));
        }
    }
    let fixed = [("legacy_lora", &model.adapter.legacy_lora), ("xlora", &model.adapter.xlora)];
    for (name, _) in fixed.iter().filter(|(_, value)| value.is_some() && model.kind == ModelKind::Multimodal)
    {
        violations.push(Violation::new(format!("{path}.{name}"), messages::NOT_MULTIMODAL));
    }
}

fn check_partners(values: &Values, key: &Key, path: &str, violations: &mut Vec<Violation>) {
    if !values.is_set(path) {
        return;
    }
    let set = |partner: &String| values.is_set(&beside(path, partner));
    if !key.requires.is_empty() && !key.requires.iter().any(set) {
        violations.push(Violation::new(path, messages::requires(key)));
    }
    for partner in key.conflicts.iter().filter(|partner| set(partner)) {
        violations.push(Violation::new(path, messages::conflicts(partner)));
    }
}

/// A key of one command only must not be set for the other, where nothing would read it.
fn check_command(command: Command, values: &Values, key: &Key, path: &str, violations: &mut Vec<Violation>) {
    let Some(only) = key.command.filter(|only| *only != command) else { return };
    if values.get(path).is_some_and(|value| key.default.as_ref() != Some(value)) {
        let only = match only {
            Command::Serve => "serve",
            Command::Run => "run",
        };
        violations.push(Violation::new(path, format!("applies to command = \"{only}\" only")));
    }
}

/// The partner in the same model, where both stand in a model.
fn beside(path: &str, partner: &str) -> String {
    match (path.split_once(']'), partner.strip_prefix("models.")) {
        (Some((model, _)), Some(rest)) => format!("{model}].{rest}"),
        _ => partner.to_owned(),
    }
}

fn named(path: &str) -> String {
    match key(path).and_then(|key| key.flag.as_ref()) {
        Some(flag) => format!("{path} (--{})", flag.long),
        None => path.to_owned(),
    }
}

/// The configuration as a tree of values.
pub(crate) struct Values(Value);

impl Values {
    pub(crate) fn of(config: &DaemonConfig) -> Values {
        // Every type of the configuration has a TOML form: the round trip test walks them all.
        Values(Value::try_from(config).unwrap_or(Value::Table(toml::Table::new())))
    }

    /// The paths of a key or table: one, or one for each model.
    pub(crate) fn instances(&self, path: &str) -> Vec<String> {
        match path.strip_prefix("models") {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => {
                let models = self.0.get("models").and_then(Value::as_array).map_or(0, Vec::len);
                (0..models).map(|index| format!("models[{index}]{rest}")).collect()
            }
            _ => vec![path.to_owned()],
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, name| match name.split_once('[') {
            None => value.get(name),
            Some((name, index)) => value.get(name)?.get(index.trim_end_matches(']').parse::<usize>().ok()?),
        })
    }

    fn is_set(&self, path: &str) -> bool {
        self.get(path).is_some_and(|value| *value != Value::Boolean(false))
    }
}
