//! The rules that Kubernetes has between a pod's fields, told when an object is applied: as CEL, and as `validate` has
//! them. A test holds both to the same verdicts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ResourceRequirements, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ostro_config::Problem;
use serde::Serialize;
use serde_json::Value;

use crate::messages::{LITERAL_TOKEN, SAME_NAME};
use crate::quantity::quantity;
use crate::rules::CelRule;
use crate::schema::field_names;
use crate::spec::{ExtraVolume, InferenceDeploymentSpec};
use crate::validate::broken;

/// Where the operator mounts its own volumes.
pub const MOUNT_PATHS: [&str; 4] = ["/etc/ostro", "/var/cache/ostro", "/tmp", "/dev/shm"];
/// Nothing can be mounted there, or over what containers have there.
const SYSTEM_PATHS: [&str; 3] = ["/proc", "/sys", "/dev"];
/// A variable that a field of the spec decides.
const DRAIN_VARIABLE: &str = "OSTRO_DRAIN_SECONDS";
/// Variables by which the daemon and hub libraries are given a token.
const TOKENS: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

const STUCK: &str = "must not have both maxSurge and maxUnavailable 0: no pod could be replaced";
const ABOVE_LIMIT: &str = "must not be above resources.limits";
const TWO_VALUES: &str = "must not have both value and valueFrom";
const ONE_ORIGIN: &str = "must have exactly one source";
const DRAIN: &str = "must not set OSTRO_DRAIN_SECONDS: rollout.drainSeconds does";
const ONE_SOURCE: &str = "must have exactly one source each, such as emptyDir";
const SAME_PATH: &str = "must not have a mountPath twice";
const RESERVED_PATH: &str = "must not take the operator's paths /etc/ostro, /var/cache/ostro, /tmp and /dev/shm, nor /proc, /sys and /dev";
const UPWARDS: &str = "must not have ..";

/// Fields of `ExtraVolume` that are no sources.
const VOLUME_FIELDS: [&str; 3] = ["name", "mountPath", "readOnly"];

pub(crate) fn cel_rules() -> Vec<CelRule> {
    [amount_rules(), variable_rules(), volume_rules()].into_iter().flatten().collect()
}

/// Of all items of a list.
pub(crate) fn each(list: &str, item: &str, holds: &str) -> String {
    format!("!has(self.{list}) || self.{list}.all({item}, {holds})")
}

/// That exactly one of the fields is set.
fn has_one(of: &str, names: impl IntoIterator<Item = String>) -> String {
    let set: Vec<String> = names.into_iter().map(|name| format!("has({of}.{name})")).collect();
    format!("size([{}].filter(x, x)) == 1", set.join(", "))
}

/// Texts as CEL has them in a list.
fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", ")
}

fn amount_rules() -> Vec<CelRule> {
    let zero =
        |field: &str| format!("has(self.rollout.{field}) && string(self.rollout.{field}) in ['0', '0%']");
    vec![
        CelRule::new(
            format!("!has(self.rollout) || !({} && {})", zero("maxSurge"), zero("maxUnavailable")),
            "rollout",
            STUCK,
        ),
        CelRule::new(
            "!has(self.resources) || !has(self.resources.requests) || !has(self.resources.limits) || \
             self.resources.requests.all(r, !(r in self.resources.limits) || \
             quantity(string(self.resources.requests[r])).compareTo(\
             quantity(string(self.resources.limits[r]))) <= 0)",
            "resources.requests",
            ABOVE_LIMIT,
        ),
    ]
}

fn variable_rules() -> Vec<CelRule> {
    let origins = has_one("e.valueFrom", field_names::<EnvVarSource>());
    let is_token = format!("e.name in [{}]", quoted(&TOKENS));
    vec![
        CelRule::new(each("env", "e", "self.env.exists_one(f, f.name == e.name)"), "env", SAME_NAME),
        CelRule::new(
            each("env", "e", "!has(e.value) || e.value == '' || !has(e.valueFrom)"),
            "env",
            TWO_VALUES,
        ),
        CelRule::new(
            each("env", "e", &format!("!has(e.valueFrom) || {origins}")),
            "env.valueFrom",
            ONE_ORIGIN,
        ),
        CelRule::new(
            each("env", "e", &format!("!({is_token}) || !has(e.value) || e.value == ''")),
            "env",
            LITERAL_TOKEN,
        ),
        CelRule::new(each("env", "e", &format!("e.name != '{DRAIN_VARIABLE}'")), "env", DRAIN),
    ]
}

fn volume_rules() -> Vec<CelRule> {
    let paths = [quoted(&MOUNT_PATHS), quoted(&SYSTEM_PATHS)].join(", ");
    let is_free = format!(
        "!(v.mountPath in [{paths}] || v.mountPath.startsWith('/proc/') || v.mountPath.startsWith('/sys/'))"
    );
    let sources = field_names::<Volume>().into_iter().filter(|name| !VOLUME_FIELDS.contains(&name.as_str()));
    let is_single = "self.volumes.exists_one(w, w.mountPath == v.mountPath)";
    let is_below = "!has(v.hostPath) || !(v.hostPath.path + '/').contains('/../')";
    vec![
        CelRule::new(each("volumes", "v", &has_one("v", sources)), "volumes", ONE_SOURCE),
        CelRule::new(each("volumes", "v", is_single), "volumes", SAME_PATH),
        CelRule::new(each("volumes", "v", &is_free), "volumes", RESERVED_PATH),
        CelRule::new(each("volumes", "v", is_below), "volumes.hostPath.path", UPWARDS),
        CelRule::new(
            "!has(self.cache) || !has(self.cache.hostPath) || !(self.cache.hostPath.path + '/').contains('/../')",
            "cache.hostPath.path",
            UPWARDS,
        ),
    ]
}

pub(crate) fn problems(spec: &InferenceDeploymentSpec) -> Vec<Problem> {
    let path = |path: &str| path.split('/').any(|name| name == "..");
    let host_path = spec.cache.as_ref().and_then(|cache| cache.host_path.as_ref());
    let has_host_path =
        |volume: &ExtraVolume| volume.volume.host_path.as_ref().is_some_and(|host| path(&host.path));
    let resources = spec.resources.clone().unwrap_or_default();
    let is_stuck = spec.rollout.as_ref().is_some_and(|rollout| {
        [&rollout.max_surge, &rollout.max_unavailable]
            .iter()
            .all(|amount| amount.as_ref().is_some_and(is_zero))
    });
    broken([
        ("rollout", STUCK, is_stuck),
        ("resources.requests", ABOVE_LIMIT, is_above(&resources)),
        ("env", SAME_NAME, is_double(spec.env.iter().map(|variable| variable.name.as_str()))),
        ("env", TWO_VALUES, spec.env.iter().any(|one| has_value(one) && one.value_from.is_some())),
        (
            "env.valueFrom",
            ONE_ORIGIN,
            spec.env.iter().filter_map(|one| one.value_from.as_ref()).any(|from| fields_set(from, &[]) != 1),
        ),
        ("env", DRAIN, spec.env.iter().any(|one| one.name == DRAIN_VARIABLE)),
        (
            "env",
            LITERAL_TOKEN,
            spec.env.iter().any(|one| has_value(one) && TOKENS.contains(&one.name.as_str())),
        ),
        ("volumes", ONE_SOURCE, spec.volumes.iter().any(|one| fields_set(one, &VOLUME_FIELDS) != 1)),
        ("volumes", SAME_PATH, is_double(spec.volumes.iter().map(|one| one.mount_path.as_str()))),
        ("volumes", RESERVED_PATH, spec.volumes.iter().any(takes_path)),
        ("volumes.hostPath.path", UPWARDS, spec.volumes.iter().any(has_host_path)),
        ("cache.hostPath.path", UPWARDS, host_path.is_some_and(|host| path(&host.path))),
    ])
}

/// A number of pods, or a share of them.
pub fn is_zero(amount: &IntOrString) -> bool {
    match amount {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => text == "0%",
    }
}

type Amounts = BTreeMap<String, Quantity>;

pub(crate) fn both(resources: &ResourceRequirements) -> (Amounts, Amounts) {
    (resources.requests.clone().unwrap_or_default(), resources.limits.clone().unwrap_or_default())
}

fn is_above(resources: &ResourceRequirements) -> bool {
    let (requests, limits) = both(resources);
    requests.iter().any(|(name, request)| {
        let limit = limits.get(name).and_then(|limit| quantity(&limit.0));
        matches!((quantity(&request.0), limit), (Some(request), Some(limit)) if request > limit)
    })
}

fn has_value(variable: &EnvVar) -> bool {
    variable.value.as_ref().is_some_and(|value| !value.is_empty())
}

fn takes_path(volume: &ExtraVolume) -> bool {
    let path = volume.mount_path.as_str();
    let is_below = ["/proc/", "/sys/"].iter().any(|start| path.starts_with(start));
    is_below || MOUNT_PATHS.contains(&path) || SYSTEM_PATHS.contains(&path)
}

pub(crate) fn is_double<T: Ord>(names: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    let mut names = names;
    !names.all(|name| seen.insert(name))
}

/// Of an object those that are neither absent nor among `others`.
fn fields_set(object: &impl Serialize, others: &[&str]) -> usize {
    let value = serde_json::to_value(object).unwrap_or_default();
    let Value::Object(fields) = value else { return 0 };
    fields.iter().filter(|(name, value)| !value.is_null() && !others.contains(&name.as_str())).count()
}
