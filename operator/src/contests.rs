//! Children that somebody changes each time they are applied: to write them for ever would serve nobody.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Applies of the same content within [`WINDOW`]; a person who tries something out needs fewer.
const APPLIES_MAX: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Contests {
    /// By the child's kind, namespace and name.
    all: Mutex<HashMap<String, Contest>>,
}

#[derive(Debug)]
struct Contest {
    /// Of the content.
    hash: String,
    applies: u32,
    since: Instant,
}

impl Contests {
    /// Notes that a child, which was applied and is not as it was, is to be applied again; whether that was done enough.
    pub(crate) fn is_lost(&self, child: &str, hash: &str) -> bool {
        let now = Instant::now();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, contest| now < contest.since + WINDOW);
        let new = || Contest { hash: hash.to_owned(), applies: 0, since: now };
        let contest = all.entry(child.to_owned()).or_insert_with(new);
        if contest.hash != hash {
            *contest = new();
        }
        contest.applies += 1;
        contest.applies > APPLIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_contest_is_lost_after_some_applies_of_the_same_in_a_minute() {
        let contests = Contests::default();
        let mut lost = Vec::new();
        for second in 0..70 {
            lost.extend(contests.is_lost("a", "1").then_some(second));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(lost, [(5..60).collect::<Vec<_>>(), vec![65, 66, 67, 68, 69]].concat());
        assert!(!contests.is_lost("b", "1"), "another child");
        assert!(!contests.is_lost("a", "2"), "other content");
    }
}
