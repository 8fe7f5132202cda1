//! The Job that removes from a cache what pods do not need, once all of them are of one template. It stays when it is
//! done: as long as it is there, nothing is removed again.

use ostro_crds::InferenceDeployment;

use super::job::{self, Purpose};
use super::names::Names;
use super::{ChildKind, Kept, Prepared, dynamic, finish};

/// Where the spec asks for it.
pub(crate) fn prune_job(owner: &InferenceDeployment, kept: &Kept) -> Option<Prepared> {
    if !owner.spec.prunes() {
        return None;
    }
    let job = job::build(&Names::of(owner), &kept.rendering, Purpose::Prune)?;
    Some(finish(owner, ChildKind::Job, dynamic(job)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inference_deployment::build::{Defaults, inputs_hash, job_prefix, render};

    fn prepared(cache: Value, image: &str) -> Option<Prepared> {
        let spec = json!({ "models": [{ "modelId": "a/b" }], "cache": cache });
        let metadata = json!({ "name": "m", "namespace": "n", "uid": "u" });
        let owner: InferenceDeployment =
            serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap();
        let defaults = Defaults { image: image.to_owned() };
        let rendering = render(&owner, &owner.spec.validate().unwrap(), &defaults).unwrap();
        prune_job(&owner, &Kept { rendering, spec_hash: inputs_hash(&owner.spec), number: 1 })
    }

    #[test]
    fn the_job_removes_what_the_pods_configuration_does_not_name() {
        let cache = json!({ "volume": { "size": "1Gi" }, "prune": true });
        let job = prepared(cache.clone(), "ostro:1").unwrap();
        let pod = &job.object.data["spec"]["template"];
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["prune", "-f", "/etc/ostro/ostro.toml", "--yes"]));
        assert!(container.get("readinessProbe").is_none());
        let claim = json!({ "claimName": "m-cache" });
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|volume| volume["persistentVolumeClaim"] == claim), "{volumes:?}");
        // Nobody takes it for the daemon, or for a download.
        assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/name"], "ostro-prune");
        let name = job.object.metadata.name.clone().unwrap();
        assert!(
            name.starts_with("m-prune-") && !name.starts_with(&job_prefix("m", Purpose::Prefetch)),
            "{name}"
        );
        assert_ne!(prepared(cache, "ostro:2").unwrap().object.metadata.name.unwrap(), name);
        assert!(prepared(json!({ "volume": { "size": "1Gi" } }), "ostro:1").is_none());
    }
}
