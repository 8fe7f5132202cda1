//! The status from what was observed. Pure; the time of a transition is kept from the status before.

mod models;
mod monitored;
mod transitions;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use ostro_crds::{ConditionType, InferenceDeployment, InferenceDeploymentStatus, Phase, Reason};
use serde_json::Value;

use super::build::{Names, endpoint, selector_text};
use super::classify::Cause;
use super::daemons::PodModels;
use super::hold::{Held, Pending};
use super::outcome::First;
use super::workload::Workload;
use crate::shortened::shortened;
use crate::terminal::without_controls;

pub(crate) use monitored::monitored;
pub(crate) use transitions::{
    count_pending, is_same, is_same_but_for_words, keep_words, pending_reason, transitions,
};

/// Of what others say, such as a container at its end or an event; an object has it several times.
const MESSAGE_BYTES_MAX: usize = 4000;

/// What a condition says that is not of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) holds: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What a status is made from.
pub(crate) struct Observed<'a> {
    pub(crate) owner: &'a InferenceDeployment,
    pub(crate) workload: Option<&'a Workload>,
    /// It was written since, or is to be.
    pub(crate) is_behind: bool,
    pub(crate) first: Option<First>,
    pub(crate) pods: &'a [PodModels],
    /// Why pods do not get ready, or why nothing could be built or applied.
    pub(crate) cause: Option<Cause>,
    /// Absent while it is not known.
    pub(crate) monitored: Option<Finding>,
    /// Absent while it is not time for it, or not asked for.
    pub(crate) pruned: Option<Finding>,
    /// What is not rolled out until it is released.
    pub(crate) held: Held,
    pub(crate) image: String,
    pub(crate) now: Timestamp,
}

/// Replicas as the workload counts them, once it has seen its own latest spec.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    wanted: i32,
    /// All there are, old ones too.
    present: i32,
    ready: i32,
    updated: i32,
    is_current: bool,
}

impl Observed<'_> {
    pub(crate) fn status(&self) -> InferenceDeploymentStatus {
        let counts = self.counts();
        let names = Names::of(self.owner);
        let models = model_ids(self.owner, &self.held);
        let verdict = Verdict::of(counts, self.cause.as_ref());
        let verdict = match &self.first {
            Some(First::Download { job, .. }) => verdict.after(job).with(models::download(self.pods)),
            Some(First::Prune { by }) => {
                verdict.with(Some(format!("{by}, which removes what pods of before do not need, ends first")))
            }
            Some(First::Collect { what }) => verdict.with(Some(what.clone())),
            None => verdict.with(models::news(&models, self.pods)),
        };
        InferenceDeploymentStatus {
            observed_generation: self.owner.metadata.generation,
            conditions: self.conditions(&verdict, counts),
            phase: Some(verdict.phase),
            replicas: Some(counts.present),
            replicas_ready: Some(format!("{}/{}", counts.ready, counts.wanted)),
            selector: Some(selector_text(&names.selector())),
            models_ready: Some(format!("{}/{}", models::ready(&models, self.pods), models.len())),
            models: models::statuses(&models, self.pods),
            endpoint: Some(endpoint(&names, &self.owner.spec)),
            image: Some(self.image.clone()),
        }
    }

    fn counts(&self) -> Counts {
        let wanted = self.owner.spec.replicas.unwrap_or(1);
        let Some(Workload { metadata, spec, status }) = self.workload else {
            return Counts { wanted, ..Counts::default() };
        };
        let status = status.clone().unwrap_or_default();
        Counts {
            wanted,
            present: status.replicas,
            ready: status.ready_replicas,
            updated: status.updated_replicas,
            is_current: !self.is_behind
                && status.observed_generation == metadata.generation
                && spec.replicas == Some(wanted),
        }
    }

    fn conditions(&self, verdict: &Verdict, counts: Counts) -> Vec<Condition> {
        let is_off = counts.wanted == 0 && counts.is_current;
        let text = format!("{} of {} replicas are ready", counts.ready, counts.wanted);
        let (is_available, reason) = match counts.ready {
            1.. => (true, Reason::SomeReady),
            _ if is_off => (true, Reason::ScaledToZero),
            _ => (false, Reason::NoneReady),
        };
        let available = (reason, &text);
        let message = &verdict.message;
        let mut conditions = vec![
            self.condition(ConditionType::Ready, verdict.is_ready, (verdict.reason, message)),
            self.condition(ConditionType::Available, is_available, available),
            self.condition(ConditionType::Progressing, verdict.is_progressing, (verdict.reason, message)),
            self.condition(ConditionType::Degraded, verdict.is_degraded, (verdict.reason, message)),
        ];
        // Only while true, as kstatus wants them.
        if verdict.is_stalled {
            conditions.push(self.condition(ConditionType::Stalled, true, (verdict.reason, message)));
        } else if !verdict.is_ready {
            conditions.push(self.condition(ConditionType::Reconciling, true, (verdict.reason, message)));
        }
        conditions.extend(self.monitored());
        let pruned = self.pruned.as_ref();
        conditions.extend(pruned.map(|finding| self.found(ConditionType::CachePruned, finding)));
        conditions.extend(self.pending());
        conditions
    }

    /// As it was, when nothing newer is known: a wrong spec releases nothing.
    fn pending(&self) -> Option<Condition> {
        let kind = ConditionType::TemplateUpdatePending;
        let pending = match &self.held {
            Held::Pending(pending) => pending,
            Held::Nothing => return None,
            Held::Unknown => return self.owner.status.as_ref()?.condition(kind).cloned(),
        };
        let message = pending.message(&self.owner.name_any());
        Some(self.condition(kind, true, (pending.cause.reason(), &message)))
    }

    /// As it was, when nothing newer is known.
    fn monitored(&self) -> Option<Condition> {
        let kind = ConditionType::Monitored;
        match &self.monitored {
            Some(finding) => Some(self.found(kind, finding)),
            None if self.owner.spec.monitoring.is_none() => None,
            None => self.owner.status.as_ref()?.condition(kind).cloned(),
        }
    }

    fn found(&self, kind: ConditionType, Finding { holds, reason, message }: &Finding) -> Condition {
        self.condition(kind, *holds, (*reason, message))
    }

    fn condition(&self, kind: ConditionType, holds: bool, (reason, message): (Reason, &String)) -> Condition {
        let status = if holds { "True" } else { "False" };
        let before = self.owner.status.as_ref().and_then(|status| status.condition(kind));
        let since = before.filter(|before| before.status == status);
        Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: shortened(&without_controls(message), MESSAGE_BYTES_MAX).into_owned(),
            observed_generation: self.owner.metadata.generation,
            last_transition_time: since.map_or(Time(self.now), |before| before.last_transition_time.clone()),
        }
    }
}

/// What all conditions agree on.
struct Verdict {
    phase: Phase,
    reason: Reason,
    message: String,
    is_ready: bool,
    is_progressing: bool,
    is_degraded: bool,
    is_stalled: bool,
}

impl Verdict {
    fn of(counts: Counts, cause: Option<&Cause>) -> Verdict {
        let Counts { wanted, present, ready, updated, is_current } = counts;
        let is_complete = is_current && updated == wanted && ready == wanted && present == wanted;
        let plain = |phase, reason, message: String| Verdict {
            phase,
            reason,
            message,
            is_ready: false,
            is_progressing: false,
            is_degraded: false,
            is_stalled: false,
        };
        if let Some(cause) = cause {
            let is_stalled = cause.reason.is_stalling();
            let phase = match (ready > 0, is_stalled) {
                (true, _) => Phase::Degraded,
                (false, true) => Phase::Failed,
                (false, false) => Phase::Pending,
            };
            let verdict = plain(phase, cause.reason, cause.message.clone());
            return Verdict { is_degraded: true, is_stalled, is_progressing: !is_stalled, ..verdict };
        }
        if is_complete && wanted == 0 {
            let message = "no replicas are wanted".to_owned();
            return Verdict { is_ready: true, ..plain(Phase::Ready, Reason::ScaledToZero, message) };
        }
        if is_complete {
            let message = format!("all {wanted} replicas are ready");
            return Verdict { is_ready: true, ..plain(Phase::Ready, Reason::AllReady, message) };
        }
        // Which of them are of this spec is not known before the workload's controller has seen it.
        let is_known = is_current && ready > 0;
        let updated = if is_known { format!(", {updated} with this spec") } else { String::new() };
        let message = format!("{ready} of {wanted} replicas are ready{updated}");
        Verdict { is_progressing: true, ..plain(Phase::Progressing, Reason::RollingOut, message) }
    }

    /// Where replicas wait for a Job.
    fn after(mut self, job: &str) -> Verdict {
        if self.reason == Reason::RollingOut {
            self.reason = Reason::Prefetching;
            self.message.push_str(&format!("; Job {job} downloads the models of this spec"));
        }
        self
    }

    /// While replicas are waited for: what they wait for.
    fn with(mut self, news: Option<String>) -> Verdict {
        let is_waiting = [Reason::RollingOut, Reason::Prefetching].contains(&self.reason);
        if let Some(news) = news.filter(|_| is_waiting) {
            self.message.push_str(&format!("; {news}"));
        }
        self
    }
}

/// Of the models that pods serve, or are to serve.
pub(crate) fn model_ids(owner: &InferenceDeployment, held: &Held) -> Vec<String> {
    match held {
        Held::Pending(Pending { models: Some(models), .. }) => return models.clone(),
        // As the condition, which stays.
        Held::Unknown if pending_reason(owner).is_some() => {
            let models = owner.status.iter().flat_map(|status| &status.models);
            return models.map(|model| model.id.clone()).collect();
        }
        _ => (),
    }
    let ids = owner.spec.models.iter().filter_map(|model| model.get("modelId").and_then(Value::as_str));
    ids.map(str::to_owned).collect()
}

#[cfg(test)]
mod kstatus;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdicts;
