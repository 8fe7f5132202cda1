//! How often an object's status is written: a status is whole, so that the latest is enough, and others who change it
//! each time, as a second operator or a policy of admission does, would have it written for ever as fast as it goes.

use std::time::Duration;

use tokio::time::Instant;

use crate::memory::Memory;

/// Of one object, when it is written without end.
const INTERVAL: Duration = Duration::from_secs(5);
/// Writes that may come at once; a replica that starts makes two or three.
const BURST: u32 = 20;
const BURST_OF_REPLICA: u32 = 4;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// By uid.
    objects: Memory<String, Written>,
}

#[derive(Debug)]
struct Written {
    /// When all writes so far would have been made at one in each interval.
    even: Instant,
    /// When a status may be written that had to wait.
    owed_at: Option<Instant>,
}

/// Of an object with so many replicas.
pub(crate) fn burst(replicas: Option<i32>) -> u32 {
    let replicas = u32::try_from(replicas.unwrap_or_default()).unwrap_or_default();
    BURST.saturating_add(BURST_OF_REPLICA.saturating_mul(replicas))
}

impl Pace {
    /// Or how long a write has to wait; where it may not, it is owed.
    pub(crate) fn may_write(&self, uid: &str, burst: u32) -> Result<(), Duration> {
        let now = Instant::now();
        let mut objects = self.objects.lock();
        let Some(written) = objects.all.get_mut(uid) else { return Ok(()) };
        let wait = (written.even.max(now) + INTERVAL).duration_since(now + INTERVAL.saturating_mul(burst));
        written.owed_at = (!wait.is_zero()).then(|| now + wait);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    pub(crate) fn wrote(&self, uid: &str) {
        let now = Instant::now();
        let mut objects = self.objects.lock();
        objects.sweep(INTERVAL * BURST, |written| now < written.even);
        let written = objects.all.entry(uid.to_owned()).or_insert(Written { even: now, owed_at: None });
        written.even = written.even.max(now) + INTERVAL;
    }

    /// Until a status may be written that had to wait; none once that has come.
    pub(crate) fn owed(&self, uid: &str) -> Option<Duration> {
        let owed_at = self.objects.lock().all.get(uid)?.owed_at?;
        Some(owed_at.duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(pace: &Pace, uid: &str) -> Result<(), Duration> {
        pace.may_write(uid, burst(None))?;
        pace.wrote(uid);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn some_writes_come_at_once_and_then_one_in_each_interval() {
        let pace = Pace::default();
        for _ in 0..BURST {
            assert_eq!(write(&pace, "a"), Ok(()));
        }
        assert_eq!((write(&pace, "a"), pace.owed("a")), (Err(INTERVAL), Some(INTERVAL)));
        assert_eq!((write(&pace, "b"), pace.owed("b")), (Ok(()), None), "another object");
        assert_eq!(pace.may_write("a", burst(Some(1))), Ok(()), "one with a replica");
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(write(&pace, "a"), Err(INTERVAL - second));
        tokio::time::advance(INTERVAL - second).await;
        assert_eq!((write(&pace, "a"), pace.owed("a")), (Ok(()), None));
        assert_eq!(write(&pace, "a"), Err(INTERVAL));

        // Nothing is kept of those that were left alone for long.
        tokio::time::advance(INTERVAL * BURST).await;
        assert_eq!((pace.owed("a"), write(&pace, "b")), (None, Ok(())));
        assert_eq!(pace.objects.lock().all.len(), 1);
    }
}
