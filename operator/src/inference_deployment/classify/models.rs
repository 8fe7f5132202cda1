//! What daemons say of models that they could not load.

use ostro_crds::{ModelState, Reason};

use super::containers::reason_of;
use super::{Cause, cause};
use crate::inference_deployment::daemons::PodModels;

/// Of the first pod of a template that is not ready because a model failed, while its daemon loads the others.
pub(crate) fn failed_model(pods: &[PodModels], template: Option<&str>) -> Option<Cause> {
    let waiting = pods.iter().filter(|pod| !pod.is_ready && pod.template.as_deref() == template);
    let mut told = waiting.flat_map(|pod| pod.told.iter().flatten());
    let failed = told.find(|told| told.state == Some(ModelState::Failed))?;
    let words = failed.message.as_deref().unwrap_or("it does not say why");
    let (reason, hint) = match reason_of(words) {
        (Reason::CrashLoop, _) => (Reason::ModelFailed, ""),
        known => known,
    };
    cause(reason, format!("{} did not load: {words}{hint}", failed.id))
}

/// The cause of Kubernetes, unless it follows from a model's: a daemon that waits to be ready is ended at last.
pub(crate) fn or_of_model(cause: Option<Cause>, model: Option<Cause>) -> Option<Cause> {
    match cause {
        None => model,
        Some(Cause { reason: Reason::StartupBudgetExceeded, .. }) => model.or(cause),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference_deployment::daemons::Told;

    fn pod(is_ready: bool, state: ModelState, message: Option<&str>) -> PodModels {
        let loaded = Told { id: "a".to_owned(), state: Some(ModelState::Loaded), message: None };
        let other = Told { id: "b/c".to_owned(), state: Some(state), message: message.map(str::to_owned) };
        PodModels { is_ready, template: Some("t".to_owned()), told: Some(vec![loaded, other]) }
    }

    /// Pods, and the reason and words that they lead to.
    type Case<'a> = (&'a [PodModels], Option<(Reason, &'a str)>);

    #[test]
    fn a_model_that_failed_beside_others_is_the_cause() {
        use ModelState::{Failed, Loading};
        let silent = PodModels { told: None, ..pod(false, Loading, None) };
        let of_before = PodModels { template: None, ..pod(false, Failed, Some("x")) };
        let gone = "the hub has no model b/c";
        let cases: &[Case] = &[
            (&[], None),
            (&[silent.clone(), of_before, pod(false, Loading, None)], None),
            // Its readiness is the kubelet's to see.
            (&[pod(true, Failed, Some(gone))], None),
            (
                &[silent, pod(false, Failed, Some(gone))],
                Some((Reason::ModelNotFound, "b/c did not load: the hub has no model b/c; see spec.models")),
            ),
            (
                &[pod(false, Failed, Some("is broken"))],
                Some((Reason::ModelFailed, "b/c did not load: is broken")),
            ),
            (
                &[pod(false, Failed, None)],
                Some((Reason::ModelFailed, "b/c did not load: it does not say why")),
            ),
        ];
        for (pods, expected) in cases {
            let told = failed_model(pods, Some("t"));
            let told = told.as_ref().map(|cause| (cause.reason, cause.message.as_str()));
            assert_eq!(told, *expected, "{pods:?}");
        }
    }

    #[test]
    fn a_model_that_failed_explains_a_budget_that_ran_out_and_nothing_else() {
        let of = |reason| cause(reason, "");
        let model = || of(Reason::ModelNotFound);
        assert_eq!(or_of_model(None, model()), model());
        assert_eq!(or_of_model(of(Reason::StartupBudgetExceeded), model()), model());
        for kept in [Reason::StartupBudgetExceeded, Reason::Unschedulable] {
            assert_eq!(or_of_model(of(kept), None), of(kept));
        }
        assert_eq!(or_of_model(of(Reason::Unschedulable), model()), of(Reason::Unschedulable));
    }
}
