use serde_json::{Value, json};

use super::super::build::ChildKind;
use super::super::daemons::Told;
use super::super::hold::{Pending, PendingCause};
use super::super::optional::Lack;
use super::*;

pub(super) fn owner(replicas: i32) -> InferenceDeployment {
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "n", "generation": 3 },
        "spec": { "models": [{ "modelId": "a/b" }], "replicas": replicas },
    });
    serde_json::from_value(object).unwrap()
}

/// A Deployment of `wanted` replicas; `is_seen` by its controller.
pub(super) fn deployment(wanted: i32, present: i32, updated: i32, ready: i32, is_seen: bool) -> Workload {
    let deployment = json!({
        "metadata": { "generation": 2 },
        "spec": { "replicas": wanted, "selector": {}, "template": {} },
        "status": {
            "observedGeneration": if is_seen { 2 } else { 1 },
            "replicas": present, "updatedReplicas": updated, "readyReplicas": ready,
        },
    });
    serde_json::from_value(deployment).unwrap()
}

pub(super) fn status(
    owner: &InferenceDeployment,
    deployment: Option<&Workload>,
    cause: Option<Cause>,
) -> InferenceDeploymentStatus {
    Observed { cause, ..observed(owner, deployment) }.status()
}

/// Of which nothing else is known.
fn observed<'a>(owner: &'a InferenceDeployment, workload: Option<&'a Workload>) -> Observed<'a> {
    Observed {
        owner,
        workload,
        is_behind: false,
        first: None,
        pods: &[],
        cause: None,
        monitored: None,
        pruned: None,
        held: Held::Nothing,
        image: "i".to_owned(),
        now: Timestamp::from_second(1000).unwrap(),
    }
}

fn told<'a>(owner: &InferenceDeployment, status: &'a InferenceDeploymentStatus) -> Vec<&'a str> {
    transitions(owner, status).into_iter().map(|condition| condition.reason.as_str()).collect()
}

#[test]
fn verdicts_follow_the_deployment() {
    let cases = [
        (1, None, None, "InProgress", Phase::Progressing),
        (1, Some(deployment(1, 1, 1, 0, true)), None, "InProgress", Phase::Progressing),
        (1, Some(deployment(1, 1, 1, 1, true)), None, "Current", Phase::Ready),
        // Its controller has not seen the new spec: the counts are of the old one.
        (1, Some(deployment(1, 1, 1, 1, false)), None, "InProgress", Phase::Progressing),
        (2, Some(deployment(1, 1, 1, 1, true)), None, "InProgress", Phase::Progressing),
        // Old pods still there.
        (1, Some(deployment(1, 2, 1, 2, true)), None, "InProgress", Phase::Progressing),
        (0, Some(deployment(0, 0, 0, 0, true)), None, "Current", Phase::Ready),
        (1, None, Some(Reason::InvalidConfig), "Failed", Phase::Failed),
        (1, Some(deployment(1, 1, 1, 0, true)), Some(Reason::Unschedulable), "InProgress", Phase::Pending),
        (2, Some(deployment(2, 2, 2, 1, true)), Some(Reason::CrashLoop), "InProgress", Phase::Degraded),
    ];
    for (replicas, deployment, reason, expected, phase) in cases {
        let cause = reason.map(|reason| Cause { reason, message: "why".to_owned() });
        let status = status(&owner(replicas), deployment.as_ref(), cause);
        let object = json!({ "metadata": { "generation": 3 }, "status": status });
        assert_eq!((kstatus::verdict(&object), status.phase), (expected, Some(phase)), "{deployment:?}");
        let kinds: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds[..4], ["Ready", "Available", "Progressing", "Degraded"]);
    }
}

#[test]
fn who_wants_no_replicas_has_what_is_wanted() {
    for (replicas, ready, expected) in
        [(0, 0, "True ScaledToZero"), (1, 0, "False NoneReady"), (1, 1, "True SomeReady")]
    {
        let deployment = deployment(replicas, replicas, replicas, ready, true);
        let status = status(&owner(replicas), Some(&deployment), None);
        let available = &status.conditions[1];
        assert_eq!(format!("{} {}", available.status, available.reason), expected);
    }
}

#[test]
fn counts_of_before_an_apply_are_not_told_of_the_new_spec() {
    let owner = owner(2);
    let told = |deployment: &Workload, is_behind| {
        let status = Observed { is_behind, ..observed(&owner, Some(deployment)) }.status();
        let ready = &status.conditions[0];
        format!("{}: {}", ready.status, ready.message)
    };
    let ready = deployment(2, 2, 2, 2, true);
    assert_eq!(told(&ready, false), "True: all 2 replicas are ready");
    assert_eq!(told(&ready, true), "False: 2 of 2 replicas are ready");
    assert_eq!(told(&deployment(2, 2, 2, 2, false), false), "False: 2 of 2 replicas are ready");
    assert_eq!(
        told(&deployment(2, 3, 1, 2, true), false),
        "False: 2 of 2 replicas are ready, 1 with this spec"
    );
    assert_eq!(told(&deployment(2, 1, 1, 0, true), false), "False: 0 of 2 replicas are ready");
}

#[test]
fn words_of_others_hold_no_controls() {
    let message = "it ended: \u{1b}[2Ja\u{9b}b\u{202e}\nc".to_owned();
    let status = status(&owner(1), None, Some(Cause { reason: Reason::CrashLoop, message }));
    assert_eq!(status.conditions[0].message, "it ended:  [2Ja b \nc");
}

#[test]
fn a_download_is_told_with_what_it_has_come_to() {
    let owner = owner(2);
    let told = |id: &str, step: &str| Told {
        id: id.to_owned(),
        state: Some(ostro_crds::ModelState::Loading),
        message: Some(step.to_owned()),
    };
    let told = vec![told("c", "downloaded, 100 %"), told("a/b", "download, 40 %")];
    let pods = [PodModels { is_ready: false, template: None, told: Some(told) }];
    let told = |cause: Option<Cause>| {
        let first = Some(First::Download { job: "m-prefetch-1".to_owned(), template_hash: "1".to_owned() });
        let observed = Observed { is_behind: true, first, pods: &pods, cause, ..observed(&owner, None) };
        let status = observed.status();
        let object = json!({ "metadata": { "generation": 3 }, "status": status });
        let ready = &status.conditions[0];
        (
            format!("{}: {}", ready.reason, ready.message),
            kstatus::verdict(&object),
            status.models[0].message.clone(),
        )
    };
    let (ready, verdict, model) = told(None);
    assert_eq!(
        ready,
        "Prefetching: 0 of 2 replicas are ready; Job m-prefetch-1 downloads the models of this spec; a/b: download, 40 %"
    );
    assert_eq!((verdict, model.as_deref()), ("InProgress", Some("download, 40 %")));
    let cause = Cause { reason: Reason::ModelNotFound, message: "why".to_owned() };
    assert_eq!(told(Some(cause)).0, "ModelNotFound: why");
}

#[test]
fn times_change_with_the_status_only() {
    let deployment = deployment(1, 1, 1, 1, true);
    let mut owner = owner(1);
    owner.status = Some(status(&owner, None, None));
    let later = Timestamp::from_second(2000).unwrap();
    let observe = |owner: &InferenceDeployment, deployment: Option<&Workload>| {
        Observed { now: later, ..observed(owner, deployment) }.status()
    };
    assert!(is_same(&owner, &observe(&owner, None)));
    let ready = observe(&owner, Some(&deployment));
    assert!(!is_same(&owner, &ready));
    assert_eq!(ready.conditions[0].last_transition_time, Time(later));
    assert_eq!(told(&owner, &ready), ["AllReady"]);
    owner.status = Some(ready.clone());
    assert_eq!(told(&owner, &ready), [""; 0]);
}

#[test]
fn what_people_and_autoscalers_read() {
    let (owner, deployment) = (owner(1), deployment(1, 1, 1, 1, true));
    let pods = [PodModels { is_ready: true, template: None, told: None }];
    let observed = Observed { pods: &pods, ..observed(&owner, Some(&deployment)) };
    let status = serde_json::to_value(observed.status()).unwrap();
    let expected = json!({
        "replicas": 1, "replicasReady": "1/1", "modelsReady": "1/1",
        "selector": "app.kubernetes.io/instance=m,app.kubernetes.io/name=ostro",
        "endpoint": "http://m.n.svc/v1", "phase": "Ready",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&status[name], value, "{name}");
    }
    assert_eq!(status["models"], json!([{ "id": "a/b", "replicasLoaded": 1, "state": "Loaded" }]));
}

#[test]
fn events_tell_of_a_cache_only_that_it_cannot_be_pruned() {
    let (mut owner, deployment) = (owner(1), deployment(1, 1, 1, 1, true));
    owner.status = Some(status(&owner, Some(&deployment), None));
    let mut observe = |holds: bool, reason: Reason| {
        let pruned = Some(Finding { holds, reason, message: "why".to_owned() });
        let status = Observed { pruned, ..observed(&owner, Some(&deployment)) }.status();
        let object = json!({ "metadata": { "generation": 3 }, "status": status });
        assert_eq!((kstatus::verdict(&object), status.phase), ("Current", Some(Phase::Ready)));
        let events: Vec<String> = told(&owner, &status).into_iter().map(str::to_owned).collect();
        let condition = status.condition(ConditionType::CachePruned).unwrap().clone();
        owner.status = Some(status);
        (condition.status, events)
    };
    assert_eq!(observe(false, Reason::Pruning), ("False".to_owned(), vec![]));
    assert_eq!(observe(false, Reason::PruneFailed), ("False".to_owned(), vec!["PruneFailed".to_owned()]));
    assert_eq!(observe(false, Reason::PruneFailed).1, [""; 0]);
    assert_eq!(observe(true, Reason::CachePruned), ("True".to_owned(), vec![]));
}

#[test]
fn a_missing_api_is_told_and_leaves_the_object_ready() {
    let deployment = deployment(1, 1, 1, 1, true);
    let mut owner = owner(1);
    let mut observe = |spec: Value, lack: Option<Option<Lack>>| {
        owner.spec.monitoring = serde_json::from_value(spec).unwrap();
        let monitored = lack.map(|lack| monitored(ChildKind::ServiceMonitor, lack.as_ref()));
        let observed = Observed { monitored, ..observed(&owner, Some(&deployment)) };
        let status = observed.status();
        let object = json!({ "metadata": { "generation": 3 }, "status": status });
        assert_eq!((kstatus::verdict(&object), status.phase), ("Current", Some(Phase::Ready)));
        let told: Vec<String> = told(&owner, &status).into_iter().map(str::to_owned).collect();
        let monitored = status.condition(ConditionType::Monitored).cloned();
        owner.status = Some(status);
        (monitored.map(|condition| (condition.status, condition.reason)), told)
    };
    let condition = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
    let unreachable = Some(Lack::Unreachable("no rights".to_owned()));
    let steps = [
        (json!(null), None, None, vec!["AllReady"]),
        (json!({}), Some(Some(Lack::Missing)), condition("False", "APIMissing"), vec!["APIMissing"]),
        // Not known, such as after a failure: as it was.
        (json!({}), None, condition("False", "APIMissing"), vec![]),
        (json!({}), Some(unreachable), condition("False", "APIUnavailable"), vec!["APIUnavailable"]),
        (json!({}), Some(None), condition("True", "MonitorApplied"), vec!["MonitorApplied"]),
        (json!(null), None, None, vec![]),
        (json!({}), Some(None), condition("True", "MonitorApplied"), vec![]),
    ];
    for (spec, lack, expected, events) in steps {
        let (monitored, told) = observe(spec.clone(), lack.clone());
        assert_eq!(
            (monitored, told),
            (expected, events.into_iter().map(str::to_owned).collect()),
            "{lack:?}"
        );
    }
}

#[test]
fn what_waits_is_told_and_ready_stays() {
    let pending = Pending {
        cause: PendingCause::OperatorUpgrade,
        running: Some("1-a".to_owned()),
        rendered: "2-b".to_owned(),
        paths: vec!["spec.x".to_owned()],
        changes_claims: false,
        models: Some(vec!["held".to_owned()]),
    };
    let deployment = deployment(1, 1, 1, 1, true);
    let mut owner = owner(1);
    // The status, and what events tell of it.
    let mut observe = |held: Held, reason: Option<Reason>| {
        let cause = reason.map(|reason| Cause { reason, message: "why".to_owned() });
        let observed = Observed { cause, held, ..observed(&owner, Some(&deployment)) };
        let status = observed.status();
        let events: Vec<String> = told(&owner, &status).into_iter().map(str::to_owned).collect();
        owner.status = Some(status.clone());
        (status, events)
    };
    let waits =
        |status: &InferenceDeploymentStatus| status.condition(ConditionType::TemplateUpdatePending).cloned();
    let (status, events) = observe(Held::Pending(pending.clone()), None);
    assert_eq!(events, ["AllReady", "OperatorUpgraded"]);
    let object = json!({ "metadata": { "generation": 3 }, "status": status });
    assert_eq!(kstatus::verdict(&object), "Current");
    let told = waits(&status).unwrap();
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "OperatorUpgraded"));
    assert!(told.message.contains("2-b would change spec.x"), "{}", told.message);
    assert_eq!(status.models[0].id, "held");
    assert_eq!(observe(Held::Pending(pending.clone()), None).1, [""; 0]);
    // What nothing can be rendered of is no release.
    let (status, events) = observe(Held::Unknown, Some(Reason::InvalidConfig));
    assert_eq!((waits(&status), events), (Some(told), vec!["InvalidConfig".to_owned()]));
    assert_eq!(status.models[0].id, "held");
    let changed = Pending { cause: PendingCause::SpecChange, ..pending };
    assert_eq!(observe(Held::Pending(changed), None).1, ["AllReady", "SpecHeld"]);
    let (status, events) = observe(Held::Nothing, None);
    assert_eq!((waits(&status), events), (None, vec![]));
    assert_eq!(waits(&observe(Held::Unknown, Some(Reason::InvalidConfig)).0), None);
}
