//! What is applied while a Job downloads the models of a rendering, before pods of it start: what pods of before depend
//! on, as it was, and all that the Job needs.

#[cfg(test)]
mod tests;

use kube::ResourceExt;
use ostro_config::Loaded;
use ostro_crds::InferenceDeployment;
use serde_json::{Value, json};

use super::config_map::FILE;
use super::job::{self, Purpose};
use super::names::{Names, job_selector};
use super::volumes::CACHE_VOLUME;
use super::{ChildKind, Kept, Prepared, Rendering, build, dynamic, finish, network_policy, template_hash};

/// Conditions of a Job that has ended.
pub(crate) const COMPLETE: &str = "Complete";
pub(crate) const FAILED: &str = "Failed";

/// A download that pods wait for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prefetch {
    /// What is applied meanwhile, the Job before the workload.
    pub(crate) prepared: Vec<Prepared>,
    /// Of the Job.
    pub(crate) name: String,
    /// Of the Job's pods.
    pub(crate) template_hash: String,
}

impl Prefetch {
    /// Before pods of `next` start, where those of `before` have other models, or another place for them.
    pub(crate) fn before(
        owner: &InferenceDeployment,
        before: Option<&Kept>,
        next: &Kept,
    ) -> Option<Prefetch> {
        // Both configurations are read only where that may say something new.
        if !owner.spec.prefetches() || before == Some(next) {
            return None;
        }
        if before.is_some_and(|before| downloads(&before.rendering) == downloads(&next.rendering)) {
            return None;
        }
        let names = Names::of(owner);
        let job = job::build(&names, &next.rendering, Purpose::Prefetch)?;
        let (name, pod) = (job.name_any(), job.spec.as_ref()?.template.clone());
        let template_hash = template_hash(pod.metadata.as_ref()?)?.to_owned();
        // What the Job's pods need.
        let needed = build(owner, next).into_iter().filter(|one| !one.kind.is_of_pods());
        let mut prepared: Vec<Prepared> = needed.collect();
        let mut add = |kind, object| prepared.push(finish(owner, kind, object));
        let of_job = (name.clone(), job_selector(&names.name, Purpose::Prefetch));
        if let Some(policy) = network_policy::build(of_job, &owner.spec, &pod) {
            add(ChildKind::NetworkPolicy, dynamic(policy));
        }
        add(ChildKind::Job, dynamic(job));
        // What pods of before need too, and as they need it, of which one may be refused.
        let is_same = |one: &Prepared, other: &Prepared| {
            one.kind == other.kind && one.object.metadata.name == other.object.metadata.name
        };
        for own in before.into_iter().flat_map(|before| build(owner, before)) {
            match prepared.iter_mut().find(|one| is_same(one, &own)) {
                Some(one) => *one = own,
                None => prepared.push(own),
            }
        }
        Some(Prefetch { prepared, name, template_hash })
    }

    /// What is there for the download only.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Prepared> {
        self.prepared.iter().filter(|one| one.object.name_any() == self.name)
    }
}

/// What decides which files are downloaded, and whereto.
fn downloads(rendering: &Rendering) -> Value {
    let models = Loaded::from_toml(FILE, &rendering.config).map(|daemon| json!(daemon.config.models));
    let volumes = rendering.template["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let cache = volumes.into_iter().find(|volume| volume["name"] == CACHE_VOLUME);
    json!([models.ok(), cache])
}
