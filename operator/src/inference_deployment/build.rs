//! From a valid object to everything it wants to exist. Pure: the same object gives the same bytes.

mod claim;
mod config_map;
mod deployment;
mod disruption_budget;
mod gpu;
mod inputs;
mod job;
mod models;
mod monitor;
mod names;
mod network_policy;
mod patch;
mod pod;
mod prefetch;
mod probes;
mod prune;
mod revision;
mod service;
mod service_account;
mod startup;
mod stateful_set;
mod template;
#[cfg(test)]
mod tests;
mod volumes;

use kube::api::{DynamicObject, TypeMeta};
use kube::core::ObjectMeta;
use kube::{Resource, ResourceExt};
use ostro_config::Problems;
use ostro_crds::{InferenceDeployment, ValidSpec};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use config_map::{FILE as CONFIG_FILE, config_map_of, prefix as config_prefix};
pub(crate) use deployment::needs_spare;
pub(crate) use gpu::is_gpu;
pub(crate) use inputs::inputs_hash;
pub(crate) use job::{Purpose, prefix as job_prefix};
pub(crate) use models::looks_like_path;
pub(crate) use monitor::kind as monitor_kind;
pub(crate) use names::{MANAGED_BY, Names, instance_of, selector_text};
pub(crate) use network_policy::add_ports;
pub(crate) use patch::merge_key;
pub(crate) use pod::CONTAINER;
pub(crate) use prefetch::{COMPLETE, FAILED, Prefetch};
pub(crate) use prune::prune_job;
pub(crate) use revision::{History, Kept, Rendering};
pub(crate) use service::endpoint;
pub(crate) use template::{StartupTime, TEMPLATE_HASH_ANNOTATION, image, startup_time, template_hash};
pub(crate) use volumes::{CACHE_VOLUME, CONFIG_DIR, CONFIG_VOLUME};

/// Of what an object's fields were when the operator applied it.
pub(crate) const HASH_ANNOTATION: &str = "inference.ostro.dev/applied-hash";

/// What the operator adds to every object's own wishes.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    /// Of the daemon, where an object names none.
    pub(crate) image: String,
}

/// One object as it is to be applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) object: DynamicObject,
    pub(crate) kind: ChildKind,
}

/// The kinds of objects that the operator makes, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ChildKind {
    ServiceAccount,
    /// Before all that it decides.
    ControllerRevision,
    ConfigMap,
    PersistentVolumeClaim,
    Service,
    NetworkPolicy,
    PodDisruptionBudget,
    Deployment,
    StatefulSet,
    /// Before pods of a new template, and gone when they start; or after, on the cache that they have then.
    Job,
    ServiceMonitor,
    PodMonitor,
}

/// What this operator would have the pods depend on.
pub(crate) fn render(
    owner: &InferenceDeployment,
    valid: &ValidSpec,
    defaults: &Defaults,
) -> Result<Rendering, Problems> {
    let names = Names::of(owner);
    let config = valid.daemon.written_toml();
    let config_map = config_map::name(&names, &config);
    let input = pod::PodInput { defaults, config_map: &config_map };
    let template = pod::build(&names, &owner.spec, &valid.daemon, &input)?;
    claim::check(&names, &owner.spec)?;
    models::check(&owner.spec.models, &template)?;
    Ok(Rendering {
        renderer: Some(env!("CARGO_PKG_VERSION").to_owned()),
        template: json(&template),
        config,
        cache_claim: claim::template(&names, &owner.spec).as_ref().map(json),
    })
}

/// Everything that an object wants to exist, in the order in which it is applied. What pods depend on comes from `kept`
/// alone, whatever the spec says.
pub(crate) fn build(owner: &InferenceDeployment, kept: &Kept) -> Vec<Prepared> {
    let names = Names::of(owner);
    let spec = &owner.spec;
    let pod = kept.rendering.pod();
    let mut prepared = Vec::new();
    let mut add = |kind, object: Option<DynamicObject>| {
        prepared.extend(object.map(|object| finish(owner, kind, object)));
    };
    add(ChildKind::ServiceAccount, service_account::build(&names, spec, &pod).map(dynamic));
    add(ChildKind::ControllerRevision, Some(dynamic(revision::build(&names, kept))));
    let config = &kept.rendering.config;
    let config_map = pod.spec.as_ref().and_then(config_map_of).map(str::to_owned);
    let config_map = config_map.unwrap_or_else(|| config_map::name(&names, config));
    add(ChildKind::ConfigMap, Some(dynamic(config_map::build(config_map, config))));
    add(ChildKind::PersistentVolumeClaim, claim::build(&names, spec).map(dynamic));
    add(ChildKind::Service, Some(dynamic(service::build(&names, spec))));
    add(
        ChildKind::NetworkPolicy,
        network_policy::build((names.name.clone(), names.selector()), spec, &pod).map(dynamic),
    );
    add(ChildKind::NetworkPolicy, network_policy::of_pruning(&names, spec).map(dynamic));
    add(ChildKind::PodDisruptionBudget, disruption_budget::build(&names, spec).map(dynamic));
    let kind = kept.rendering.workload();
    let mut workload = match &kept.rendering.cache_claim {
        None => dynamic(deployment::build(&names, spec, &pod)),
        Some(claim) => {
            add(ChildKind::Service, Some(dynamic(stateful_set::headless_service(&names))));
            let mut stateful_set = dynamic(stateful_set::build(&names, spec, &pod));
            stateful_set.data["spec"]["volumeClaimTemplates"] = vec![claim.clone()].into();
            stateful_set
        }
    };
    // As it was kept: another version's types may know more fields.
    workload.data["spec"]["template"] = kept.rendering.template.clone();
    add(kind, Some(workload));
    for kind in [ChildKind::ServiceMonitor, ChildKind::PodMonitor] {
        add(kind, monitor::build(&names, spec, kind));
    }
    prepared
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types are JSON")
}

fn dynamic<K>(object: K) -> DynamicObject
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let mut value = json(&object);
    let types = TypeMeta { api_version: K::api_version(&()).into_owned(), kind: K::kind(&()).into_owned() };
    let metadata: ObjectMeta =
        serde_json::from_value(value["metadata"].take()).expect("metadata comes from metadata");
    let fields = value.as_object_mut().expect("an object is one");
    for name in ["apiVersion", "kind", "metadata", "status"] {
        fields.remove(name);
    }
    DynamicObject { types: Some(types), metadata, data: value }
}

/// Owner, labels, and its hash.
fn finish(owner: &InferenceDeployment, kind: ChildKind, mut object: DynamicObject) -> Prepared {
    object.metadata.namespace = owner.namespace();
    let mut reference = owner.controller_owner_ref(&()).expect("it was read from the API");
    // So that `kubectl delete --cascade=foreground`, and who waits for it, ends when the pods have.
    reference.block_owner_deletion = kind.makes_pods().then_some(true);
    object.metadata.owner_references = Some(vec![reference]);
    object.labels_mut().extend(names::labels_of(kind, &owner.name_any()));
    mark(&mut object);
    Prepared { object, kind }
}

/// With the hash by which the next reconcile sees that nothing changed.
fn mark(object: &mut DynamicObject) {
    let bytes = serde_json::to_vec(&(&object.metadata, &object.data)).expect("an object is JSON");
    object.annotations_mut().insert(HASH_ANNOTATION.to_owned(), short_hash(&bytes));
}

/// 64 bits of SHA-256 in hexadecimal.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of a value, whatever the order of its fields; absent and null are the same.
pub(crate) fn content_hash(value: &Value) -> String {
    let mut value = value.clone();
    remove_nulls(&mut value);
    value.sort_all_objects();
    short_hash(&serde_json::to_vec(&value).expect("a value is JSON"))
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
