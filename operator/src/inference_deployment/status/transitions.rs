//! What is new in a status, and what of it events and metrics tell. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use ostro_crds::{ConditionType, InferenceDeployment, InferenceDeploymentStatus, Reason};

use super::super::hold::PendingCause;

/// Whether a status says something new. Times of transitions follow from the rest.
pub(crate) fn is_same(owner: &InferenceDeployment, status: &InferenceDeploymentStatus) -> bool {
    owner.status.as_ref() == Some(status)
}

/// Whether it says the same in other words.
pub(crate) fn is_same_but_for_words(owner: &InferenceDeployment, status: &InferenceDeploymentStatus) -> bool {
    let without_words = |status: &InferenceDeploymentStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    owner.status.as_ref().map(without_words) == Some(without_words(status))
}

/// As they were, where the condition says the same in other words.
pub(crate) fn keep_words(
    owner: &InferenceDeployment,
    status: &mut InferenceDeploymentStatus,
    kind: ConditionType,
) {
    let before = owner.status.as_ref().and_then(|status| status.condition(kind));
    let after = status.conditions.iter_mut().find(|condition| condition.type_ == kind.as_str());
    if let (Some(before), Some(after)) = (before, after)
        && (&before.status, &before.reason) == (&after.status, &after.reason)
    {
        after.message.clone_from(&before.message);
    }
}

/// What events should tell: that the status or reason of Ready or Monitored changed, that a template waits, or that a
/// cache cannot be pruned.
pub(crate) fn transitions<'a>(
    owner: &InferenceDeployment,
    status: &'a InferenceDeploymentStatus,
) -> Vec<&'a Condition> {
    let changed = |kind: ConditionType| {
        let after = status.condition(kind)?;
        let is_same = match owner.status.as_ref().and_then(|before| before.condition(kind)) {
            Some(before) => (&before.status, &before.reason) == (&after.status, &after.reason),
            // What is asked for and given at once is no news.
            None => kind == ConditionType::Monitored && after.status == "True",
        };
        let is_quiet = kind == ConditionType::CachePruned && after.reason != Reason::PruneFailed.as_str();
        (!is_same && !is_quiet).then_some(after)
    };
    let kinds = [
        ConditionType::Ready,
        ConditionType::Monitored,
        ConditionType::TemplateUpdatePending,
        ConditionType::CachePruned,
    ];
    kinds.into_iter().filter_map(changed).collect()
}

/// Why an object's template waits, as its status says.
pub(crate) fn pending_reason(object: &InferenceDeployment) -> Option<Reason> {
    let condition = object.status.as_ref()?.condition(ConditionType::TemplateUpdatePending)?;
    PendingCause::ALL.map(PendingCause::reason).into_iter().find(|reason| reason.as_str() == condition.reason)
}

/// How many templates wait, by reason.
pub(crate) fn count_pending(pending: &[Reason]) -> Vec<(&'static str, usize)> {
    let of = |reason: Reason| pending.iter().filter(|found| **found == reason).count();
    PendingCause::ALL.map(PendingCause::reason).map(|reason| (reason.as_str(), of(reason))).into()
}
