//! What comes often, such as ten times a second while descriptors are out, is told now and then.

use std::time::Duration;

use tokio::time::Instant;

/// Between two warnings.
const QUIET_TIME: Duration = Duration::from_secs(10);

/// Counts what comes, and says when to tell of it.
#[derive(Debug, Default)]
pub struct Seldom {
    untold: u64,
    told: Option<Instant>,
}

impl Seldom {
    /// One more: how many there were since the last warning when it is time for another.
    pub fn note(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| told.elapsed() < QUIET_TIME) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_every_ten_seconds() {
        let mut seldom = Seldom::default();
        let mut told = Vec::new();
        for _ in 0..250 {
            told.extend(seldom.note());
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(told, [1, 100, 100]);
    }
}
