//! From a change of an object to the write of its Deployment, at a steady rate of changes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::api::Api;
use super::objects;
use super::observer::{Observer, Watched};

pub(super) const CHANGES: usize = 200;
pub(super) const EVERY: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(60);

/// Of all changes, in ascending order.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// From when a watch shows the object's change.
    pub(super) of_event: Vec<Duration>,
    /// From before the change was sent.
    pub(super) of_sending: Vec<Duration>,
}

/// Changes the first objects, each once.
pub(super) fn measure(
    api: &Api,
    observer: &mut Observer,
    changes: usize,
    max_seqs: u32,
) -> Result<Latencies> {
    let before: Vec<u64> =
        (0..changes).map(|index| deployment_generation(observer, index)).collect::<Result<_>>()?;
    let mut sent = Vec::new();
    let start = Instant::now();
    for index in 0..changes {
        let due = start + EVERY * u32::try_from(index)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        objects::apply(api, index, max_seqs)?;
    }
    observer.await_until(LIMIT, |seen| {
        let is_written = |index: &usize| {
            let deployment = seen.get(&(Watched::Deployment, objects::key(*index)));
            deployment.is_some_and(|deployment| deployment.generation > before[*index])
        };
        let written = (0..changes).filter(is_written).count();
        if written == changes { Ok(()) } else { Err(format!("{written} of {changes} Deployments changed")) }
    })?;
    let mut latencies = Latencies::default();
    for (index, sent) in sent.into_iter().enumerate() {
        let [object, deployment] = [Watched::Object, Watched::Deployment]
            .map(|of| observer.latest(of, &objects::key(index)).map(|seen| seen.since));
        let written = deployment.context("a Deployment is gone")?;
        let event = object.context("an object is gone")?;
        latencies.of_event.push(written.saturating_duration_since(event));
        latencies.of_sending.push(written.saturating_duration_since(sent));
    }
    latencies.of_event.sort_unstable();
    latencies.of_sending.sort_unstable();
    Ok(latencies)
}

fn deployment_generation(observer: &mut Observer, index: usize) -> Result<u64> {
    let key = objects::key(index);
    let seen = observer.latest(Watched::Deployment, &key);
    Ok(seen.with_context(|| format!("no Deployment {key}"))?.generation)
}

/// The value that `percent` of all do not exceed.
pub(super) fn percentile(sorted: &[Duration], percent: u32) -> Duration {
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let all: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 100), (99, 198), (100, 200), (1, 2)] {
            assert_eq!(percentile(&all, percent), Duration::from_millis(expected), "{percent}");
        }
        assert_eq!(percentile(&all[..3], 50), Duration::from_millis(2));
        assert_eq!(percentile(&all[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
