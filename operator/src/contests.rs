//! Children that somebody changes each time they are applied, as another controller does, or a policy of admission: to
//! write them for ever would serve nobody, and to call them applied would be wrong.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::inference_deployment::Version;

/// Applies of the same content, none of them longer than [`WINDOW`] after the one before; a person who tries something
/// out needs fewer.
const APPLIES_MAX: u32 = 5;
/// A child that stays as it was applied for so long is contested no more.
const WINDOW: Duration = Duration::from_secs(60);
/// Longer than a reconcile that fails is waited with.
const KEPT: Duration = Duration::from_secs(300);

/// A child and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// Its kind, namespace and name.
    pub(crate) child: &'a str,
    /// Of the content.
    pub(crate) hash: &'a str,
}

/// What is to be done with a child that is not as it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Apply,
    /// It was applied, and no watch has shown that yet.
    Await,
    Leave,
}

#[derive(Debug, Default)]
pub(crate) struct Contests {
    /// By child.
    all: Mutex<HashMap<String, Contest>>,
}

#[derive(Debug)]
struct Contest {
    hash: String,
    applies: u32,
    /// Of the last apply.
    at: Instant,
    /// What the watch had shown then, where it is known, and what the apply made of it.
    before: Option<Version>,
    after: Version,
}

impl Contest {
    fn is_lost(&self) -> bool {
        self.applies > APPLIES_MAX || self.is_undone()
    }

    /// The answer to the apply was what had been there.
    fn is_undone(&self) -> bool {
        self.before == Some(self.after)
    }

    fn is_recent(&self) -> bool {
        self.at.elapsed() < WINDOW
    }
}

impl Contests {
    /// For a child that a watch shows in this version.
    pub(crate) fn turn(&self, claim: Claim<'_>, shown: Option<Version>) -> Turn {
        let all = self.lock();
        match all.get(claim.child).filter(|contest| contest.hash == claim.hash) {
            Some(contest) if shown.is_some() && contest.before == shown && !contest.is_undone() => {
                Turn::Await
            }
            Some(contest) if contest.is_recent() && contest.applies > APPLIES_MAX => Turn::Leave,
            _ => Turn::Apply,
        }
    }

    /// Notes an apply, which made one version of another; whether the child is contested.
    pub(crate) fn note(&self, claim: Claim<'_>, before: Option<Version>, after: Version) -> bool {
        let mut all = self.lock();
        all.retain(|_, contest| contest.is_recent() || (contest.is_lost() && contest.at.elapsed() < KEPT));
        let last = all.remove(claim.child).filter(|contest| contest.hash == claim.hash);
        let applies = last.as_ref().map_or(0, |contest| contest.applies.min(APPLIES_MAX));
        // The watch is behind, and so was this apply.
        let is_ours = last.is_some_and(|contest| contest.after == after);
        let hash = claim.hash.to_owned();
        let mut contest = Contest { hash, applies, at: Instant::now(), before, after };
        // One that changed nothing is no write.
        contest.applies += u32::from(!contest.is_undone() && !is_ours);
        let is_lost = contest.is_lost();
        all.insert(claim.child.to_owned(), contest);
        is_lost
    }

    /// Whether a child that is as wanted now was contested until a moment ago.
    pub(crate) fn is_unsettled(&self, child: impl FnOnce() -> String) -> bool {
        let mut all = self.lock();
        if all.is_empty() {
            return false;
        }
        let child = child();
        let Some(contest) = all.get(&child) else { return false };
        let is_unsettled = contest.applies > APPLIES_MAX && contest.is_recent();
        if !contest.is_recent() {
            all.remove(&child);
        }
        is_unsettled
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Contest>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim<'static> = Claim { child: "a", hash: "1" };

    fn version(number: u32) -> Version {
        let resource_version = Some(number.to_string());
        Version::of(&kube::core::ObjectMeta { resource_version, ..Default::default() })
    }

    /// An apply of what a watch shows in an odd version, which makes the even one behind it.
    fn apply(contests: &Contests, claim: Claim<'_>, number: u32) -> bool {
        contests.note(claim, Some(version(number)), version(number + 1))
    }

    async fn seconds(count: u64) {
        tokio::time::sleep(Duration::from_secs(count)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_contest_is_lost_after_some_applies_and_tried_again_after_a_minute() {
        let contests = Contests::default();
        let mut applied = Vec::new();
        for second in 0..200 {
            let number = 2 * second + 1;
            if contests.turn(CLAIM, Some(version(number))) == Turn::Apply {
                applied.push((second, apply(&contests, CLAIM, number)));
            }
            seconds(1).await;
        }
        let expected = [0, 1, 2, 3, 4].map(|second| (second, false)).into_iter();
        assert_eq!(
            applied,
            expected.chain([5, 65, 125, 185].map(|second| (second, true))).collect::<Vec<_>>()
        );
        assert_eq!(contests.turn(Claim { child: "b", ..CLAIM }, None), Turn::Apply, "another child");
        assert_eq!(contests.turn(Claim { hash: "2", ..CLAIM }, None), Turn::Apply, "other content");

        // As wanted at last.
        assert!(contests.is_unsettled(|| "a".to_owned()) && !contests.is_unsettled(|| "b".to_owned()));
        seconds(61).await;
        assert!(!contests.is_unsettled(|| "a".to_owned()));
        assert!(!apply(&contests, CLAIM, 999), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_watch_has_shown_yet_is_not_applied_again() {
        let contests = Contests::default();
        assert!(!apply(&contests, CLAIM, 1));
        assert_eq!(contests.turn(CLAIM, Some(version(1))), Turn::Await);
        assert_eq!(contests.turn(CLAIM, Some(version(3))), Turn::Apply);
        assert_eq!(contests.turn(Claim { hash: "2", ..CLAIM }, Some(version(1))), Turn::Apply);
        // Of a child that is too large to be kept nothing is known, nor of one that others change before the watch shows it.
        for number in 0..20 {
            let shown = (number % 2 == 0).then(|| version(100 + number));
            assert_eq!(contests.turn(CLAIM, shown), Turn::Apply);
            assert!(!contests.note(CLAIM, shown, version(2)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_apply_that_changes_nothing_is_lost_at_once_and_always_tried_again() {
        let contests = Contests::default();
        for _ in 0..20 {
            assert_eq!(contests.turn(CLAIM, Some(version(1))), Turn::Apply);
            assert!(contests.note(CLAIM, Some(version(1)), version(1)));
            seconds(1).await;
        }
        // Whoever undid it does so no more.
        assert!(!contests.note(CLAIM, Some(version(1)), version(2)));
        assert!(!contests.is_unsettled(|| "a".to_owned()));
    }
}
