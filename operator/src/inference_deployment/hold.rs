//! Whether pods are to be replaced by what this operator renders, or keep what they run. Pure, but for `fetch`.

pub(crate) mod adopt;
pub(crate) mod difference;
pub(crate) mod fetch;
#[cfg(test)]
mod tests;

use kube::ResourceExt;
use ostro_crds::{Hold, InferenceDeployment, Reason};

use super::build::{History, Kept, Rendering, inputs_hash};
use difference::{differences, is_same};

/// By it a person releases one rendering, named by its id, or all that come (`latest`).
pub(crate) const RELEASE_ANNOTATION: &str = "inference.ostro.dev/release-template";
const LATEST: &str = "latest";
const PATHS_MAX: usize = 5;

/// What is applied, and what waits for its release.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) kept: Kept,
    pub(crate) pending: Option<Pending>,
}

/// A rendering that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) cause: PendingCause,
    /// Of what pods run; none where no operator is known to have rendered it.
    pub(crate) running: Option<String>,
    /// Of what would be applied.
    pub(crate) rendered: String,
    /// In the template, and the configuration's file.
    pub(crate) paths: Vec<String>,
    /// Those of a StatefulSet, which keeps them: a release would be refused.
    pub(crate) changes_claims: bool,
    /// That pods serve, where they are known.
    pub(crate) models: Option<Vec<String>>,
}

/// What is known of a rendering that may be held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing could be rendered, as while the spec is wrong, or compared with what pods run.
    #[default]
    Unknown,
    Nothing,
    Pending(Pending),
}

impl Held {
    pub(crate) fn of(pending: Option<Pending>) -> Held {
        pending.map_or(Held::Nothing, Held::Pending)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingCause {
    OperatorUpgrade,
    SpecChange,
}

impl PendingCause {
    pub(crate) const ALL: [Self; 2] = [Self::OperatorUpgrade, Self::SpecChange];

    /// Of the condition.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::OperatorUpgrade => Reason::OperatorUpgraded,
            Self::SpecChange => Reason::SpecHeld,
        }
    }
}

/// What a person wants to be held and released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes<'a> {
    pub(crate) hold: Hold,
    pub(crate) release: Option<&'a str>,
}

impl<'a> Wishes<'a> {
    pub(crate) fn of(owner: &'a InferenceDeployment) -> Wishes<'a> {
        Wishes {
            hold: owner.spec.rollout.as_ref().and_then(|rollout| rollout.hold).unwrap_or_default(),
            release: owner.annotations().get(RELEASE_ANNOTATION).map(String::as_str),
        }
    }

    fn release(&self, rendered: &Rendering) -> bool {
        self.release.is_some_and(|release| release == LATEST || release == rendered.id())
    }
}

pub(crate) fn plan(owner: &InferenceDeployment, history: &History, rendered: Rendering) -> Plan {
    let spec_hash = inputs_hash(&owner.spec);
    let anew = |rendering| Plan {
        kept: Kept { rendering, spec_hash: spec_hash.clone(), number: history.last_number + 1 },
        pending: None,
    };
    // One that cannot be read is like none: where pods run, `fetch` took what they run in its place.
    let Some(kept) = history.kept() else { return anew(rendered) };
    match decide(kept, &rendered, &spec_hash, Wishes::of(owner)) {
        Decision::Render => anew(rendered),
        Decision::Note => anew(kept.rendering.clone()),
        Decision::Keep(pending) => Plan { kept: kept.clone(), pending },
    }
}

/// Whether a StatefulSet would have to make other claims than it does, which the API server refuses.
pub(crate) fn changes_claims(history: &History, kept: &Kept) -> bool {
    let Some(before) = history.kept() else { return false };
    has_other_claims(&before.rendering, &kept.rendering)
}

fn has_other_claims(before: &Rendering, after: &Rendering) -> bool {
    let (before, after) = (&before.cache_claim, &after.cache_claim);
    matches!((before, after), (Some(before), Some(after)) if !is_same(before, after))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Render,
    /// The spec, of which pods run what they would anyway.
    Note,
    Keep(Option<Pending>),
}

fn decide(kept: &Kept, rendered: &Rendering, spec_hash: &str, wishes: Wishes<'_>) -> Decision {
    let is_same_spec = kept.spec_hash == spec_hash;
    let paths = differences(&kept.rendering, rendered);
    if paths.is_empty() {
        // Another spec that renders the same is noted, so that a later operator's rendering of it is held. Amounts that
        // are only written otherwise would replace the pods.
        return if is_same_spec { Decision::Keep(None) } else { Decision::Note };
    }
    let is_held = match wishes.hold {
        Hold::Never => false,
        Hold::OperatorUpgrades => is_same_spec,
        Hold::All => true,
    };
    if !is_held || wishes.release(rendered) {
        return Decision::Render;
    }
    Decision::Keep(Some(Pending {
        cause: if is_same_spec { PendingCause::OperatorUpgrade } else { PendingCause::SpecChange },
        running: kept.rendering.renderer.is_some().then(|| kept.rendering.id()),
        rendered: rendered.id(),
        paths,
        changes_claims: has_other_claims(&kept.rendering, rendered),
        models: kept.rendering.models(),
    }))
}

impl Pending {
    /// For the condition: what runs, what would change it, and how to let it.
    pub(crate) fn message(&self, name: &str) -> String {
        let Pending { cause, running, rendered, paths, changes_claims, models: _ } = self;
        let running = match running {
            Some(running) => format!("what {running} rendered"),
            None => "what was found in the cluster, as no readable ControllerRevision told".to_owned(),
        };
        let why = match cause {
            PendingCause::OperatorUpgrade => "an upgrade of the operator replaces no pods by itself",
            PendingCause::SpecChange => "spec.rollout.hold is All",
        };
        let mut list = paths.iter().take(PATHS_MAX).cloned().collect::<Vec<_>>().join(", ");
        if paths.len() > PATHS_MAX {
            list.push_str(&format!(" and {} more", paths.len() - PATHS_MAX));
        }
        let how = match changes_claims {
            false => format!(
                "To replace the pods: kubectl annotate --overwrite infd/{name} {RELEASE_ANNOTATION}={rendered}"
            ),
            true => {
                "A StatefulSet keeps its claims, so that this cannot be released: take perReplica out of \
                     spec.cache.volume, then either release that, or write the volume as it was"
                    .to_owned()
            }
        };
        format!("pods keep {running}: {why}. {rendered} would change {list}. {how}")
    }
}
