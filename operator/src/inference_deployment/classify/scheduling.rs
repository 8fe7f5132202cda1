//! What the scheduler says of a pod that has no node.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodCondition};
use ostro_crds::Reason;

use super::{Cause, ONE_HOLDER, Signals, cause, claim_name};
use crate::inference_deployment::build::is_gpu;

/// What the scheduler has said of a pod, once it has.
pub(super) fn condition(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")
}

pub(super) fn unschedulable(pod: &Pod, signals: &Signals<'_>) -> Option<Cause> {
    let scheduled = condition(pod).filter(|condition| condition.status == "False")?;
    let message = scheduled.message.clone().unwrap_or_default();
    if scheduled.reason.as_deref() == Some("SchedulingGated") {
        let hint = "whoever gave the pod schedulingGates has to take them away";
        return cause(Reason::Unschedulable, format!("{message}; {hint}"));
    }
    // A pod has it, of whatever claim it is bound to.
    if message.contains("ReadWriteOncePod") {
        return cause(Reason::Unschedulable, format!("{}; {ONE_HOLDER}", message.trim_end_matches('.')));
    }
    if message.contains("PersistentVolumeClaim") || message.contains("persistentvolumeclaim") {
        return cause(Reason::PvcUnbound, claim_hint(unbound(pod, signals), &message));
    }
    let hint = gpu_hint(&message, signals);
    cause(
        Reason::Unschedulable,
        format!(
            "{message} {hint}Change spec.resources, nodeSelector, tolerations or affinity, or add nodes."
        ),
    )
}

/// For a GPU that no node has to give, by the scheduler's words `Insufficient nvidia.com/gpu`; else nothing.
fn gpu_hint(message: &str, signals: &Signals<'_>) -> String {
    let resources = message.split("Insufficient ").skip(1).filter_map(|rest| rest.split([',', ' ']).next());
    let Some(gpu) = resources.map(|name| name.trim_end_matches('.')).find(|name| is_gpu(name)) else {
        return String::new();
    };
    let rollout = match signals.needs_spare {
        true => "A rollout without a spare one needs spec.rollout.strategy Recreate. ",
        false => "",
    };
    format!(
        "No node has enough {gpu} left: does its device plugin run there, and do other pods hold it? {rollout}"
    )
}

/// The claim of the pod's cache, where that has no volume; else it is another's that the scheduler speaks of.
fn unbound<'a>(pod: &Pod, signals: &Signals<'a>) -> Option<&'a PersistentVolumeClaim> {
    let name = claim_name(pod);
    let claim = signals.claims.iter().find(|claim| claim.metadata.name.as_deref() == name)?;
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    (phase != Some("Bound")).then_some(claim)
}

fn claim_hint(claim: Option<&PersistentVolumeClaim>, message: &str) -> String {
    let Some(claim) = claim else {
        let hint = "see spec.cache.existingClaim, volumes and podTemplatePatch";
        return format!("{}; {hint}", message.trim_end_matches('.'));
    };
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    match class {
        Some("") => format!(
            "the claim {name} is not bound: its class is empty, so that only a volume made by hand fits it"
        ),
        Some(class) => format!(
            "the claim {name} is not bound: does the storage class {class:?} exist, and provision volumes?"
        ),
        None => format!(
            "the claim {name} is not bound: the cluster has no default storage class, or it provisions nothing"
        ),
    }
}
