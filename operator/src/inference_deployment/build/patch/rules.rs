//! What a patched template must still be: a pod template, whose pods the Deployment and the operator recognise, and
//! whose daemon finds its configuration. A StatefulSet leaves fewer fields.

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use ostro_crds::InferenceDeploymentSpec;
use serde_json::Value;

use super::Fault;
use crate::inference_deployment::build::config_map_of;
use crate::inference_deployment::build::names::{Names, labels};
use crate::inference_deployment::build::pod::{CONTAINER, DRAIN_VARIABLE};
use crate::inference_deployment::build::template::container;
use crate::inference_deployment::build::volumes::{CACHE_VOLUME, CONFIG_DIR, CONFIG_VOLUME};

pub(super) fn check(
    names: &Names,
    spec: &InferenceDeploymentSpec,
    (before, patched): (&PodTemplateSpec, &Value),
) -> Result<PodTemplateSpec, Fault> {
    let template: PodTemplateSpec = serde_path_to_error::deserialize(patched).map_err(|error| {
        let path = error.path().to_string();
        Fault::new(path.trim_start_matches('.'), format!("does not fit: {}", error.inner()))
    })?;
    let known = serde_json::to_value(&template).expect("Kubernetes types are JSON");
    if let Some(path) = lost("", patched, &known) {
        return Err(Fault::new(&path, "is not a field of a pod template"));
    }
    keeps_labels(names, &template)?;
    has_images(&template)?;
    keeps_config(before, &template)?;
    keeps_drain(before, &template)?;
    if spec.volume_per_replica().is_some() {
        leaves_stateful_set(&template)?;
    }
    Ok(template)
}

/// The first field that is no part of Kubernetes' types.
fn lost(path: &str, given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, given)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.get(name) {
                Some(known) => lost(&path, given, known),
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (given, known))| lost(&format!("{path}[{index}]"), given, known)),
        _ => None,
    }
}

fn keeps_labels(names: &Names, template: &PodTemplateSpec) -> Result<(), Fault> {
    let found = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    for (label, value) in labels(&names.name) {
        if found.and_then(|found| found.get(&label)) != Some(&value) {
            let path = format!("metadata.labels[{label}]");
            return Err(Fault::new(&path, format!("must stay {value}: pods are found by it")));
        }
    }
    Ok(())
}

/// A patch of the daemon under another name is a container of its own, which the API server would tell by its number.
fn has_images(template: &PodTemplateSpec) -> Result<(), Fault> {
    let Some(pod) = &template.spec else { return Ok(()) };
    let lists =
        [("initContainers", pod.init_containers.as_deref()), ("containers", Some(pod.containers.as_slice()))];
    for (list, containers) in lists {
        let lacks = |container: &&Container| container.image.as_ref().is_none_or(String::is_empty);
        if let Some(Container { name, .. }) = containers.unwrap_or_default().iter().find(lacks) {
            let path = format!("spec.{list}[{name}].image");
            return Err(Fault::new(&path, format!("is missing: the daemon's container is {CONTAINER}")));
        }
    }
    Ok(())
}

fn keeps_config(before: &PodTemplateSpec, template: &PodTemplateSpec) -> Result<(), Fault> {
    let spec = template.spec.as_ref().ok_or_else(|| Fault::new("spec", "is missing"))?;
    let Some(container) = container(template) else {
        return Err(Fault::new("spec.containers", format!("must keep the container {CONTAINER}")));
    };
    let mut mounts = container.volume_mounts.iter().flatten();
    if !mounts.any(|mount| mount.mount_path == CONFIG_DIR && mount.name == CONFIG_VOLUME) {
        let path = format!("spec.containers[{CONTAINER}].volumeMounts");
        return Err(Fault::new(&path, format!("must keep {CONFIG_VOLUME} at {CONFIG_DIR}")));
    }
    let expected = before.spec.as_ref().and_then(config_map_of);
    if config_map_of(spec) == expected {
        return Ok(());
    }
    let path = format!("spec.volumes[{CONFIG_VOLUME}]");
    Err(Fault::new(&path, format!("must stay the ConfigMap {}", expected.unwrap_or_default())))
}

/// The daemon's time, and that nobody kills it before.
fn keeps_drain(before: &PodTemplateSpec, template: &PodTemplateSpec) -> Result<(), Fault> {
    let hint = "rollout.drainSeconds decides it";
    let told = |pod: &PodTemplateSpec| {
        let mut variables = container(pod)?.env.iter().flatten();
        variables.find(|variable| variable.name == DRAIN_VARIABLE).cloned()
    };
    if told(template) != told(before) {
        let path = format!("spec.containers[{CONTAINER}].env[{DRAIN_VARIABLE}]");
        return Err(Fault::new(&path, format!("must stay: {hint}")));
    }
    let grace = |pod: &PodTemplateSpec| pod.spec.as_ref()?.termination_grace_period_seconds;
    let sleep = |pod: &PodTemplateSpec| {
        Some(container(pod)?.lifecycle.as_ref()?.pre_stop.as_ref()?.sleep.as_ref()?.seconds)
    };
    // It is counted from before the sleep.
    let longer = sleep(template).unwrap_or(0).saturating_sub(sleep(before).unwrap_or(0)).max(0);
    let least = grace(before).unwrap_or(0).saturating_add(longer);
    // Without one, Kubernetes takes 30 s.
    if grace(template).is_none_or(|patched| patched < least) {
        let hint = if longer > 0 { "preStop sleeps, then the daemon drains" } else { hint };
        return Err(Fault::new(
            "spec.terminationGracePeriodSeconds",
            format!("must be at least {least}: {hint}"),
        ));
    }
    Ok(())
}

/// It puts its own in place of these, and the API server says nothing.
fn leaves_stateful_set(template: &PodTemplateSpec) -> Result<(), Fault> {
    let Some(pod) = &template.spec else { return Ok(()) };
    let has_cache = pod.volumes.iter().flatten().any(|volume| volume.name == CACHE_VOLUME);
    let fields = [
        (format!("spec.volumes[{CACHE_VOLUME}]"), has_cache),
        ("spec.hostname".to_owned(), pod.hostname.is_some()),
        ("spec.subdomain".to_owned(), pod.subdomain.is_some()),
    ];
    match fields.into_iter().find(|(_, is_set)| *is_set) {
        Some((path, _)) => {
            Err(Fault::new(&path, "is the StatefulSet's, since cache.volume.perReplica is set"))
        }
        None => Ok(()),
    }
}
