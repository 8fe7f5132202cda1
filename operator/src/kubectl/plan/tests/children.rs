//! Children that are there already, that nobody wants any more, or that the API server refuses.

use super::*;

#[tokio::test]
async fn what_nobody_wants_any_more_is_deleted() {
    let before = object(spec(json!({ "replicas": 2, "cache": { "volume": { "size": "1Gi" } } })));
    let api = api(&applied(&before));
    let plan = plan_object(&cluster(api), &object(spec(json!({}))), None).await.unwrap();
    let deleted: Vec<String> = plan
        .changes
        .iter()
        .filter(|change| change.what == What::Deleted)
        .map(|change| change.kind.clone())
        .collect();
    // What pods ran before, and not the claim.
    assert_eq!(deleted, ["ControllerRevision", "PodDisruptionBudget"]);
}

#[tokio::test]
async fn a_stranger_of_the_same_name_stops_the_plan() {
    let mut objects = applied(&object(spec(json!({}))));
    let (_, service) = objects.iter_mut().find(|(path, _)| path.contains("/services/")).unwrap();
    service["metadata"]["ownerReferences"][0]["uid"] = "another".into();
    let error = plan_object(&cluster(api(&objects)), &object(spec(json!({}))), None).await.unwrap_err();
    assert_eq!(error.to_string(), "Service m exists and is not this object's: rename one of them");
}

#[tokio::test]
async fn what_nobody_owns_is_taken_back() {
    let mut objects = applied(&object(spec(json!({}))));
    for (_, child) in objects.iter_mut().filter(|(path, _)| !path.contains("/inferencedeployments/")) {
        child["metadata"]["ownerReferences"] = Value::Null;
    }
    let plan = plan_object(&cluster(api(&objects)), &object(spec(json!({}))), None).await.unwrap();
    let is_taken = |change: &Change| match &change.what {
        What::Changed(fields) => fields.iter().all(|field| field.path == "metadata.ownerReferences"),
        _ => false,
    };
    assert!(plan.changes.len() > 3 && plan.changes.iter().all(is_taken), "{:?}", plan.changes);
}

#[tokio::test]
async fn without_the_right_to_a_dry_run_it_is_compared_here() {
    let objects = applied(&object(spec(json!({}))));
    let full = api(&objects);
    let limited = FakeApi::answering(move |asked| match asked.line.starts_with("PATCH") {
        true => (
            403,
            json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": "services \"m\" is forbidden: User \"u\" cannot patch resource \"services\"" }),
        ),
        false => full.handle(asked.clone()),
    });
    let wanted = object(spec(json!({ "service": { "port": 81 } })));
    let plan = plan_object(&cluster(limited), &wanted, None).await.unwrap();
    let service = plan.changes.iter().find(|change| change.kind == "Service").unwrap();
    let What::Changed(fields) = &service.what else { panic!("{service:?}") };
    assert_eq!(fields[0].text(), "spec.ports[http].port: 80 -> 81");
    assert!(plan.notes[0].contains("Service m is compared here"), "{:?}", plan.notes);
}

#[tokio::test]
async fn a_refusal_is_the_operators_too() {
    let quota = FakeApi::answering(|asked| match asked.line.starts_with("PATCH") {
        true => (
            403,
            json!({ "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
            "message": "services \"m\" is forbidden: exceeded quota: few" }),
        ),
        false => FakeApi::new().handle(asked.clone()),
    });
    let error = plan_object(&cluster(quota), &object(spec(json!({}))), None).await.unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "the operator could not apply ServiceAccount m: services \"m\" is forbidden: exceeded quota: few"
    );
}

/// The operator leaves it too.
#[tokio::test]
async fn a_claim_that_cannot_change_hides_no_other_change() {
    let cached = |mut fields: Value, size: &str| {
        fields["cache"] = json!({ "volume": { "size": size } });
        object(spec(fields))
    };
    let there = api(&applied(&cached(json!({}), "1Gi")));
    let refusal =
        "persistentvolumeclaims \"m-cache\" is forbidden: only dynamically provisioned pvc can be resized";
    let fixed = FakeApi::answering(move |asked| match asked.line.starts_with("PATCH") {
        true if asked.line.contains("/persistentvolumeclaims/") => {
            (403, json!({ "kind": "Status", "status": "Failure", "code": 403, "message": refusal }))
        }
        _ => there.handle(asked.clone()),
    });
    let changed = cached(json!({ "runtime": { "maxSeqs": 8 } }), "2Gi");
    let plan = plan_object(&cluster(fixed), &changed, None).await.unwrap();
    let changes: Vec<_> = plan.changes.iter().filter(|change| change.what != What::Unchanged).collect();
    assert!(changes.iter().any(|change| change.kind == "Deployment"), "{changes:?}");
    assert!(changes.iter().all(|change| change.kind != "PersistentVolumeClaim"), "{changes:?}");
    let notes = plan.notes.join(" ");
    assert!(
        notes.contains(refusal) && notes.ends_with("it stays as it is, and all else is applied"),
        "{notes}"
    );
}
