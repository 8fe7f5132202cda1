//! How a ControllerRevision is made, and a configuration: by one call, and never over one that is somebody else's.

use ostro_exposition::Exposition;

use super::*;
use crate::inference_deployment::build::MANAGED_BY;

const SOON: Duration = Duration::from_secs(20);

fn revisions(api: &FakeApi) -> Vec<Value> {
    api.all("apps", "controllerrevisions")
}

async fn await_deployment(api: &FakeApi) {
    await_within(SOON, "the Deployment", || api.get("apps", "deployments", "m").is_some()).await;
}

/// Takes away the only revision's label, by which caches know it, and all that it explains. Nobody may be at work.
pub(super) fn hide_revision(api: &FakeApi, owner: &str) {
    api.remove("apps", "deployments", "m");
    let [mut revision] = <[Value; 1]>::try_from(revisions(api)).unwrap();
    revision["metadata"]["labels"].as_object_mut().unwrap().remove(MANAGED_BY).unwrap();
    revision["metadata"]["ownerReferences"][0]["uid"] = owner.into();
    if owner != uid(api) {
        revision["metadata"]["ownerReferences"][0]["name"] = owner.into();
    }
    api.put("apps", "controllerrevisions", revision);
}

pub(super) fn uid(api: &FakeApi) -> String {
    let owner = api.get(GROUP, "inferencedeployments", "m").unwrap();
    owner["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn calls(operator: &Operator, verb: &str, (group, resource): (&str, &str)) -> usize {
    let text = operator.metrics.text(Exposition::Text);
    let labels = format!("{{verb=\"{verb}\",group=\"{group}\",resource=\"{resource}\",");
    let prefix = format!("ostro_operator_api_calls_total{labels}");
    let samples = text.lines().filter(|line| line.starts_with(&prefix));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test(start_paused = true)]
async fn what_new_pods_wait_for_takes_one_call_each() {
    let api = FakeApi::default();
    let operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_deployment(&api).await;
    let first = revisions(&api);
    put(&api, json!({ "runtime": { "maxSeqs": 4 } }));
    await_within(SOON, "another", || revisions(&api).len() == 1 && revisions(&api) != first).await;
    for kind in [("apps", "controllerrevisions"), ("", "configmaps")] {
        let [created, read, patched, deleted] =
            ["create", "get", "patch", "delete"].map(|verb| calls(&operator, verb, kind));
        // What goes is looked at first, and keeps no pods waiting.
        assert_eq!((created, read, patched), (2, deleted, 0), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_the_cache_lacks_is_taken_up_and_anothers_is_left_alone() {
    for is_own in [true, false] {
        let api = FakeApi::default();
        let operator = Operator::start(&api, Scope::Cluster);
        put(&api, json!({}));
        await_deployment(&api).await;
        tokio::time::sleep(SOON).await;
        drop(operator);
        let owner = if is_own { uid(&api) } else { "another".to_owned() };
        hide_revision(&api, &owner);
        let hidden = revisions(&api);
        let operator = Operator::start(&api, Scope::Cluster);
        if is_own {
            await_deployment(&api).await;
            let [revision] = <[Value; 1]>::try_from(revisions(&api)).unwrap();
            assert_eq!(revision["metadata"]["labels"][MANAGED_BY], "ostro-operator");
        } else {
            await_within(SOON, "the reason", || told(&api, "Ready") == "False ApplyFailed").await;
            let ready = condition(&api, "Ready").unwrap();
            assert!(ready["message"].as_str().unwrap().contains("is not this object's"), "{ready}");
            assert_eq!(revisions(&api), hidden);
        }
        let counted = ["create", "get", "patch"]
            .map(|verb| calls(&operator, verb, ("apps", "controllerrevisions")).min(1));
        assert_eq!(counted, [1, 1, usize::from(is_own)]);
    }
}

/// Its data has no schema: any JSON may be there, as deep as no parser reads it.
#[tokio::test(start_paused = true)]
async fn a_revision_that_cannot_be_read_hides_no_other() {
    let api = FakeApi::default();
    let _operator = Operator::start(&api, Scope::Cluster);
    put(&api, json!({}));
    await_deployment(&api).await;
    let image = |api: &FakeApi| {
        let deployment = api.get("apps", "deployments", "m").unwrap();
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let wanted = image(&api);
    let [mut revision] = <[Value; 1]>::try_from(revisions(&api)).unwrap();
    revision["data"] = (0..200).fold(json!({}), |below, _| json!([below]));
    // More than a page, and before the one that counts.
    for number in 10..25 {
        revision["metadata"]["name"] = format!("deep-{number}").into();
        api.put("apps", "controllerrevisions", revision.clone());
    }
    // What runs is not what the cache explains, so that revisions are read from the API.
    let mut deployment = api.get("apps", "deployments", "m").unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    api.put("apps", "deployments", deployment);
    await_within(SOON, "the image", || image(&api) == wanted).await;
}
