//! Writes what differs, and has what is wanted no more pruned (`orphans.rs`). Nothing is written when nothing changed.

use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt;
use ostro_crds::InferenceDeployment;

use super::build::{ChildKind, HASH_ANNOTATION, Prepared};
use super::cached::Kept;
use super::children::Children;
use super::optional::Lack;
use super::outcome::refused;
use super::write::{CREATED, create, is_of_another, write};
use super::{Context, orphans};
use crate::contests::{Claim, Turn};

/// The one field manager.
pub(crate) const MANAGER: &str = "ostro-operator";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("cannot read the object itself")]
    Owner(#[source] kube::Error),
    #[error("cannot read {kind:?} {name}")]
    Read { kind: ChildKind, name: String, source: kube::Error },
    #[error("{kind:?} {name} exists and is not this object's: rename one of them")]
    Foreign { kind: ChildKind, name: String },
    #[error("{kind:?} {name} is being deleted: it is made anew once {}", let_go(*kind))]
    Going { kind: ChildKind, name: String },
    /// It goes by itself.
    #[error("{kind:?} {name} is of a deleted object of this name, and is made anew once it has gone")]
    Predecessors { kind: ChildKind, name: String },
    #[error(
        "{kind:?} {name} is changed by somebody each time it is applied{}: see its managedFields, and policies of admission; or this API server does not keep the field",
        at(path.as_ref())
    )]
    Contested { kind: ChildKind, name: String, path: Option<String> },
    #[error("cannot apply {kind:?} {name}")]
    Apply { kind: ChildKind, name: String, source: kube::Error },
    #[error("cannot delete {kind:?} {name}")]
    Delete { kind: ChildKind, name: String, source: kube::Error },
}

/// Of a key that is there twice, and of a quantity that is none, it says 500.
const UNREADABLE: [&str; 2] = ["failed to create typed patch object", "failed to convert new object"];

impl ApplyError {
    /// The API server finds what was made of the spec wrong, whenever it is asked; not that there is another child by now.
    pub(crate) fn is_of_the_spec(&self) -> bool {
        matches!(self, ApplyError::Apply { source: kube::Error::Api(status), .. }
            if (status.code == 422 && !is_of_another(status)) || UNREADABLE.iter().any(|words| status.message.contains(words)))
    }

    pub(crate) fn is_of_workload(&self) -> bool {
        matches!(self, ApplyError::Apply { kind, .. } if ChildKind::WORKLOADS.contains(kind))
    }

    /// Pods know a claim that is there by its name only.
    fn leaves_others(&self, children: &Children, Prepared { object, kind }: &Prepared) -> bool {
        let is_claim = *kind == ChildKind::PersistentVolumeClaim;
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        match self {
            ApplyError::Contested { .. } => true,
            ApplyError::Going { .. } => is_claim,
            ApplyError::Apply { .. } => {
                is_claim && children.get(*kind, namespace, &object.name_any()).is_some()
            }
            _ => false,
        }
    }

    /// An apply makes what it does not find, so that only the API itself can be missing.
    fn tells_of_no_api(&self) -> bool {
        matches!(self, ApplyError::Apply { kind, source: kube::Error::Api(status), .. }
            if status.code == 404 && ChildKind::OPTIONAL.contains(kind))
    }
}

fn let_go(kind: ChildKind) -> &'static str {
    match kind {
        ChildKind::PersistentVolumeClaim => "the pods that use it have gone, as with spec.replicas 0",
        _ => "its finalizers let it go",
    }
}

fn at(path: Option<&String>) -> String {
    path.map(|path| format!(" ({path})")).unwrap_or_default()
}

/// Writes that were needed.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) written: usize,
    /// What makes the pods is not shown yet as it was written.
    pub(crate) is_workload_behind: bool,
    /// Why the first child is not as wanted that stays as it is: somebody keeps changing it, or it goes, or it is a
    /// claim that the API server does not let change.
    pub(crate) left: Option<ApplyError>,
    pub(crate) deleted: usize,
    /// Kinds whose API is not to be had.
    pub(crate) lacking: Vec<(ChildKind, Lack)>,
    /// Why a monitor is not as it should be: all else goes on.
    pub(crate) monitor: Option<ApplyError>,
}

impl Applied {
    fn note(
        &mut self,
        children: &Children,
        wanted: &Prepared,
        step: Result<Step, ApplyError>,
    ) -> Result<(), ApplyError> {
        let kind = wanted.kind;
        match step {
            Ok(Step::Lacking(lack)) => {
                children.ask_for_apis();
                self.lacking.push((kind, lack));
            }
            Ok(step) => {
                self.written += usize::from(step == Step::Written);
                self.is_workload_behind |= step != Step::Same && ChildKind::WORKLOADS.contains(&kind);
            }
            Err(error) if error.tells_of_no_api() => {
                children.ask_for_apis();
                self.lacking.push((kind, Lack::Missing));
            }
            Err(error @ ApplyError::Predecessors { .. }) => return Err(error),
            Err(error) if ChildKind::OPTIONAL.contains(&kind) => self.note_monitor(kind, error),
            // The others are no worse for it; and what keeps a claim may be pods that they are to end.
            Err(error) if error.leaves_others(children, wanted) => {
                self.left = self.left.take().or(Some(error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn note_monitor(&mut self, kind: ChildKind, error: ApplyError) {
        self.lacking.push((kind, Lack::Refused(refused(&error))));
        self.monitor = self.monitor.take().or(Some(error));
    }
}

/// Before what makes pods, and all of it at once; monitors must not keep pods from being made.
fn is_needed_by_pods(kind: ChildKind) -> bool {
    !kind.makes_pods() && !ChildKind::OPTIONAL.contains(&kind)
}

/// What was written and deleted is told of what failed, too.
pub(crate) async fn apply(
    context: &Context,
    owner: &InferenceDeployment,
    prepared: &[Prepared],
) -> (Applied, Result<(), ApplyError>) {
    let mut applied = Applied::default();
    let result = apply_all(context, owner, prepared, &mut applied).await;
    (applied, result)
}

async fn apply_all(
    context: &Context,
    owner: &InferenceDeployment,
    prepared: &[Prepared],
    applied: &mut Applied,
) -> Result<(), ApplyError> {
    let (needed, rest): (Vec<&Prepared>, Vec<&Prepared>) =
        prepared.iter().partition(|wanted| is_needed_by_pods(wanted.kind));
    for stage in [needed, rest] {
        let steps = join_all(stage.iter().map(|wanted| apply_one(context, owner, wanted))).await;
        let mut noted = Ok(());
        for (wanted, step) in stage.iter().zip(steps) {
            noted = noted.and(applied.note(&context.children, wanted, step));
        }
        noted?;
    }
    orphans::prune(context, owner, prepared, applied).await
}

/// What was done with a child.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is as wanted.
    Same,
    Written,
    /// It was written before, and no watch has shown that.
    Awaited,
    /// Its API is not to be had.
    Lacking(Lack),
}

async fn apply_one(
    context: &Context,
    owner: &InferenceDeployment,
    wanted: &Prepared,
) -> Result<Step, ApplyError> {
    let Context { client, children, contests, .. } = context;
    let Prepared { object, kind } = wanted;
    let (kind, name) = (*kind, object.name_any());
    if let Some(lack) = children.lack(kind) {
        return Ok(Step::Lacking(lack));
    }
    let namespace = owner.namespace().unwrap_or_default();
    let live = children.get(kind, &namespace, &name);
    let child = || format!("{kind:?}/{namespace}/{name}");
    let contested = |live: Option<&Arc<Kept>>| {
        let path = live.and_then(|live| live.difference(object));
        Err(ApplyError::Contested { kind, name: name.clone(), path })
    };
    let is_going = live.as_ref().is_some_and(|live| live.is_going && live.is_of(owner));
    let is_same = live.as_ref().is_some_and(|live| live.is_as(kind, object));
    // A claim serves until its last pod has gone, and a Job that goes has a successor of another name.
    let is_waited_for = match kind {
        ChildKind::PersistentVolumeClaim => !is_same,
        _ => kind != ChildKind::Job,
    };
    if is_going && is_waited_for {
        return Err(ApplyError::Going { kind, name });
    }
    if is_same {
        return if contests.is_unsettled(child) { contested(None) } else { Ok(Step::Same) };
    }
    let claim = (child(), object.annotations().get(HASH_ANNOTATION).cloned().unwrap_or_default());
    let claim = Claim { child: &claim.0, hash: &claim.1 };
    let shown = live.as_ref().and_then(|live| live.version);
    match contests.turn(claim, shown) {
        Turn::Apply => (),
        Turn::Await => return Ok(Step::Awaited),
        Turn::Leave => return contested(live.as_ref()),
    }
    if live.is_none() && CREATED.contains(&kind) && create(client, wanted).await? {
        return Ok(Step::Written);
    }
    let known = live.as_ref().filter(|live| live.is_of(owner)).and_then(|live| live.uid());
    let grown = live.as_ref().and_then(|live| live.grown(wanted));
    let written = write(client, (owner, known), grown.as_ref().unwrap_or(wanted)).await?;
    if live.is_some() && contests.note(claim, shown, written) {
        return contested(live.as_ref());
    }
    Ok(Step::Written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostro_crds::Reason;

    #[test]
    fn a_refusal_is_told_in_the_api_servers_words() {
        let twice = "failed to create typed patch object (n/a; apps/v1, Kind=Deployment): duplicate entries";
        let quantity = "failed to convert new object (a/b; apps/v1, Kind=Deployment): quantities must match";
        let invalid = "Deployment.apps \"a\" is invalid";
        for (code, told, reason) in [
            (422, invalid, Reason::InvalidConfig),
            (500, twice, Reason::InvalidConfig),
            (500, quantity, Reason::InvalidConfig),
            (403, invalid, Reason::ApplyFailed),
        ] {
            let message = told.to_owned();
            let status = kube::core::Status { message, code, ..Default::default() };
            let source = kube::Error::Api(status.boxed());
            let error = ApplyError::Apply { kind: ChildKind::Deployment, name: "a".to_owned(), source };
            let cause = refused(&error);
            let expected = format!("cannot apply Deployment a: {told}");
            assert_eq!((cause.reason, cause.message), (reason, expected));
        }
    }
}
