use serde_json::{Value, json};

use super::*;
use crate::inference_deployment::build::{ChildKind, Defaults, render};

fn rendering(renderer: &str, image: &str) -> Rendering {
    let template = json!({ "spec": { "containers": [{ "name": "ostro", "image": image }] } });
    Rendering { renderer: Some(renderer.to_owned()), template, config: "c".to_owned(), cache_claim: None }
}

fn wishes<'a>(hold: Hold, release: Option<&'a str>) -> Wishes<'a> {
    Wishes { hold, release }
}

#[test]
fn what_is_rolled_out_and_what_waits() {
    use Hold::{All, Never, OperatorUpgrades};
    let (old, new) = (rendering("1", "a"), rendering("2", "b"));
    let id = new.id();
    let same = rendering("2", "a");
    let (upgrade, change) = (Some(PendingCause::OperatorUpgrade), Some(PendingCause::SpecChange));
    // Rendered, hash of the spec, wishes; whether it is applied, and what waits.
    let cases = [
        (&same, "s", wishes(OperatorUpgrades, None), false, None),
        (&same, "s", wishes(All, None), false, None),
        (&same, "s", wishes(Never, Some(LATEST)), false, None),
        (&new, "s", wishes(OperatorUpgrades, None), false, upgrade),
        (&new, "t", wishes(OperatorUpgrades, None), true, None),
        (&new, "s", wishes(Never, None), true, None),
        (&new, "t", wishes(Never, None), true, None),
        (&new, "s", wishes(All, None), false, upgrade),
        (&new, "t", wishes(All, None), false, change),
        (&new, "s", wishes(OperatorUpgrades, Some(LATEST)), true, None),
        (&new, "s", wishes(OperatorUpgrades, Some(&id)), true, None),
        (&new, "t", wishes(All, Some(&id)), true, None),
        (&new, "t", wishes(All, Some(LATEST)), true, None),
        // Neither a version alone nor another rendering releases this one.
        (&new, "s", wishes(OperatorUpgrades, Some("2")), false, upgrade),
        (&new, "t", wishes(All, Some("2")), false, change),
        (&new, "s", wishes(OperatorUpgrades, Some("")), false, upgrade),
    ];
    let kept = Kept { rendering: old.clone(), spec_hash: "s".to_owned(), number: 1 };
    for (rendered, spec_hash, wishes, is_applied, pending) in cases {
        let decision = decide(&kept, rendered, spec_hash, wishes);
        let found = match &decision {
            Decision::Render => (true, None),
            Decision::Keep(pending) => (false, pending.as_ref().map(|pending| pending.cause)),
            Decision::Note => panic!("{rendered:?} {spec_hash} {wishes:?} is noted"),
        };
        assert_eq!(found, (is_applied, pending), "{rendered:?} {spec_hash} {wishes:?}");
    }
    for hold in [OperatorUpgrades, Never, All] {
        assert_eq!(decide(&kept, &same, "t", wishes(hold, None)), Decision::Note, "{hold:?}");
    }
}

fn owner(fields: Value, release: Option<&str>) -> InferenceDeployment {
    let mut spec = json!({ "models": [{ "modelId": "a/b" }] });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let annotations = release.map(|release| json!({ RELEASE_ANNOTATION: release }));
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "n", "uid": "u", "annotations": annotations },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// An operator of another version: its default image, and what it renders otherwise.
struct Operator {
    version: &'static str,
    image: &'static str,
    grace_seconds: i64,
}

const OLD: Operator = Operator { version: "1.0.0", image: "ostro:1", grace_seconds: 65 };
const NEW: Operator = Operator { version: "2.0.0", image: "ostro:2", grace_seconds: 90 };

impl Operator {
    fn renders(&self, owner: &InferenceDeployment) -> Rendering {
        let valid = owner.spec.validate().unwrap();
        let defaults = Defaults { image: self.image.to_owned() };
        let mut rendering = render(owner, &valid, &defaults).unwrap();
        rendering.renderer = Some(self.version.to_owned());
        rendering.template["spec"]["terminationGracePeriodSeconds"] = self.grace_seconds.into();
        rendering
    }

    /// One reconcile after another: what is kept, and what waits.
    fn reconciles(&self, owner: &InferenceDeployment, history: &mut History) -> Option<Pending> {
        let Plan { kept, pending } = plan(owner, history, self.renders(owner));
        *history = History { last_number: kept.number, newest: Some(Ok(kept)) };
        pending
    }
}

fn image(history: &History) -> String {
    let Some(Ok(kept)) = &history.newest else { panic!("nothing is kept") };
    kept.rendering.template["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

fn empty() -> History {
    History { last_number: 0, newest: None }
}

#[test]
fn a_new_operator_restarts_nothing_until_it_is_asked() {
    let plain = owner(json!({}), None);
    let mut history = empty();
    assert_eq!(OLD.reconciles(&plain, &mut history), None);
    let before = history.clone();
    let pending = NEW.reconciles(&plain, &mut history).unwrap();
    assert_eq!(history, before);
    assert_eq!(pending.paths, ["spec.containers[ostro].image", "spec.terminationGracePeriodSeconds"]);
    // As many pods as are asked for, of those that were.
    assert!(NEW.reconciles(&owner(json!({ "replicas": 5 }), None), &mut history).is_some());
    assert_eq!(history, before);

    let released = owner(json!({}), Some(&pending.rendered));
    assert_eq!(NEW.reconciles(&released, &mut history), None);
    assert_eq!(image(&history), "ostro:2");
    // The annotation that is left behind releases no other.
    let next = Operator { version: "3.0.0", image: "ostro:3", ..NEW };
    assert!(next.reconciles(&released, &mut history).is_some());
    assert_eq!(image(&history), "ostro:2");
    // A rollback of the operator is one more upgrade.
    assert!(OLD.reconciles(&released, &mut history).is_some());
    assert_eq!(NEW.reconciles(&released, &mut history), None);
    assert_eq!(image(&history), "ostro:2");
}

#[test]
fn a_changed_spec_takes_what_waits_with_it() {
    let mut history = empty();
    OLD.reconciles(&owner(json!({}), None), &mut history);
    assert!(NEW.reconciles(&owner(json!({}), None), &mut history).is_some());
    let changed = owner(json!({ "runtime": { "maxSeqs": 4 } }), None);
    assert_eq!(NEW.reconciles(&changed, &mut history), None);
    assert_eq!(image(&history), "ostro:2");
    assert_eq!(history.last_number, 2);
    // Of the spec before only a hash is kept, so that one that is written otherwise is another.
    let of = |cpu: &str| owner(json!({ "resources": { "limits": { "cpu": cpu } } }), None);
    let mut history = empty();
    OLD.reconciles(&of("1000m"), &mut history);
    assert!(NEW.reconciles(&of("1000m"), &mut history).is_some());
    assert_eq!(NEW.reconciles(&of("1"), &mut history), None);
    assert_eq!(image(&history), "ostro:2");
}

#[test]
fn all_holds_changes_of_the_spec_until_they_are_taken_back_or_released() {
    let hold = json!({ "rollout": { "hold": "All" } });
    let changed = json!({ "rollout": { "hold": "All" }, "models": [{ "modelId": "c/d" }] });
    let mut history = empty();
    assert_eq!(OLD.reconciles(&owner(hold.clone(), None), &mut history), None);
    let pending = OLD.reconciles(&owner(changed.clone(), None), &mut history).unwrap();
    assert_eq!((pending.cause, pending.models), (PendingCause::SpecChange, Some(vec!["a/b".to_owned()])));
    assert_eq!(pending.paths, ["ostro.toml"]);
    assert_eq!(OLD.reconciles(&owner(hold.clone(), None), &mut history), None);
    let released = pending.rendered;
    assert_eq!(OLD.reconciles(&owner(changed, Some(&released)), &mut history), None);
    let again = json!({ "rollout": { "hold": "All" }, "models": [{ "modelId": "e/f" }] });
    assert!(OLD.reconciles(&owner(again, Some(&released)), &mut history).is_some());
    // Once released, the way back waits too.
    assert!(OLD.reconciles(&owner(hold, Some(&released)), &mut history).is_some());
}

#[test]
fn what_is_only_written_otherwise_replaces_no_pods() {
    for hold in ["OperatorUpgrades", "Never", "All"] {
        let of = |cpu: &str, version: &str| {
            let env = json!([{ "name": "VERSION", "value": version }]);
            let limits = json!({ "limits": { "cpu": cpu } });
            owner(json!({ "resources": limits, "env": env, "rollout": { "hold": hold } }), None)
        };
        let mut history = empty();
        OLD.reconciles(&of("1000m", "1.10"), &mut history);
        let before = history.kept().unwrap().clone();
        let same = of("1", "1.10");
        assert_eq!(OLD.reconciles(&same, &mut history), None);
        let after = history.kept().unwrap().clone();
        assert_eq!(after.rendering, before.rendering, "{hold}");
        assert_eq!((after.spec_hash, after.number), (inputs_hash(&same.spec), 2));
        // A variable is no amount, though it looks like one.
        let pending = OLD.reconciles(&of("1", "1.1"), &mut history);
        let changed = "spec.containers[ostro].env[VERSION].value".to_owned();
        assert_eq!(pending.map(|pending| pending.paths), (hold == "All").then(|| vec![changed]));
    }
}

fn with_volume(volume: Value, hold: &str) -> InferenceDeployment {
    owner(json!({ "cache": { "volume": volume }, "rollout": { "hold": hold } }), None)
}

/// What its message offers must be possible.
#[test]
fn other_claims_are_held_and_no_release_is_offered() {
    let volume = |size: &str, own: bool| with_volume(json!({ "size": size, "perReplica": own }), "All");
    let mut history = empty();
    OLD.reconciles(&volume("1Gi", true), &mut history);
    let before = history.clone();
    let pending = OLD.reconciles(&volume("2Gi", true), &mut history).unwrap();
    assert_eq!(pending.paths, ["volumeClaimTemplates[cache]"]);
    let message = pending.message("m");
    assert!(message.contains("cannot be released") && !message.contains(RELEASE_ANNOTATION), "{message}");
    // What it says instead leads there and back.
    let out = OLD.reconciles(&volume("2Gi", false), &mut history).unwrap();
    assert!(out.message("m").contains(&format!("{RELEASE_ANNOTATION}={}", out.rendered)), "{out:?}");
    assert_eq!(OLD.reconciles(&volume("1Gi", true), &mut history), None);
    assert_eq!(history, before);
    // No class is not the cluster's default one.
    let none = with_volume(json!({ "size": "1Gi", "perReplica": true, "storageClassName": "" }), "All");
    let pending = OLD.reconciles(&none, &mut history).unwrap();
    assert_eq!(pending.paths, ["volumeClaimTemplates[cache]"]);
}

/// Which kind makes the pods is held with them.
#[test]
fn a_cache_for_each_replica_is_a_change_of_the_spec() {
    let (shared, own) = (json!({ "size": "1Gi" }), json!({ "size": "1Gi", "perReplica": true }));
    let workload = |history: &History| match &history.newest {
        Some(Ok(kept)) => kept.rendering.workload(),
        other => panic!("{other:?}"),
    };
    let mut history = empty();
    OLD.reconciles(&with_volume(shared.clone(), "OperatorUpgrades"), &mut history);
    assert_eq!(workload(&history), ChildKind::Deployment);
    assert_eq!(OLD.reconciles(&with_volume(own.clone(), "OperatorUpgrades"), &mut history), None);
    assert_eq!(workload(&history), ChildKind::StatefulSet);
    // A new operator holds its template as that of a Deployment.
    let pending = NEW.reconciles(&with_volume(own.clone(), "OperatorUpgrades"), &mut history).unwrap();
    assert_eq!(pending.paths, ["spec.containers[ostro].image", "spec.terminationGracePeriodSeconds"]);
    let pending = OLD.reconciles(&with_volume(shared, "All"), &mut history).unwrap();
    assert_eq!(pending.paths, ["spec.volumes[cache]", "volumeClaimTemplates[cache]"]);
    assert_eq!(workload(&history), ChildKind::StatefulSet);
}

#[test]
fn other_claims_of_a_stateful_set_are_found() {
    let own = |size: &str| with_volume(json!({ "size": size, "perReplica": true }), "OperatorUpgrades");
    let changes = |before: &InferenceDeployment, after: &InferenceDeployment| {
        let mut history = empty();
        OLD.reconciles(before, &mut history);
        changes_claims(&history, &plan(after, &history, OLD.renders(after)).kept)
    };
    assert!(changes(&own("1Gi"), &own("2Gi")));
    assert!(!changes(&own("1Gi"), &own("1024Mi")));
    let fast = json!({ "size": "1Gi", "perReplica": true, "storageClassName": "fast" });
    let fast = with_volume(fast, "OperatorUpgrades");
    assert!(changes(&own("1Gi"), &fast) && changes(&fast, &own("1Gi")));
    let shared = with_volume(json!({ "size": "2Gi" }), "OperatorUpgrades");
    assert!(!changes(&shared, &own("1Gi")) && !changes(&own("1Gi"), &shared));
    // Held, and so not made.
    assert!(!changes(&own("1Gi"), &with_volume(json!({ "size": "2Gi", "perReplica": true }), "All")));
}

#[test]
fn an_unreadable_revision_without_pods_is_as_none_and_numbers_go_on() {
    let history = History { last_number: 7, newest: Some(Err("why".to_owned())) };
    let plan = plan(&owner(json!({}), None), &history, OLD.renders(&owner(json!({}), None)));
    assert_eq!((plan.kept.number, plan.pending), (8, None));
}

#[test]
fn the_message_says_what_runs_what_would_change_and_how() {
    let pending = Pending {
        cause: PendingCause::OperatorUpgrade,
        running: Some("1.0.0-a".to_owned()),
        rendered: "2.0.0-b".to_owned(),
        paths: ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned).into(),
        changes_claims: false,
        models: None,
    };
    let message = pending.message("m");
    for part in [
        "what 1.0.0-a rendered",
        "2.0.0-b would change a, b, c, d, e and 2 more",
        "infd/m inference.ostro.dev/release-template=2.0.0-b",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
