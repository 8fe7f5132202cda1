//! How threads share the panels of a product: each begins with its own, one behind the other in memory, and takes of
//! others' from their end when it has none left. Who computes a panel changes no bit of it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cpu::pool::Line;

/// The most panels that are taken at once: what is left of a thread that is held up, others can take.
const TAKEN_MAX: u32 = 8;
/// How many others are asked at most: each costs a cache line.
const ASKED_MAX: usize = 4;

/// By thread, what is left of its panels: the first of them, and in the upper half the one behind the last.
pub(crate) struct Shares {
    left: Vec<Line<AtomicU64>>,
}

/// The panels of a thread.
#[derive(Clone)]
pub(crate) struct Panels<'a> {
    taken: Range<usize>,
    /// Where there are more, and the thread's number.
    more: Option<(&'a Shares, usize)>,
}

/// At which end panels are taken.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

impl Panels<'_> {
    /// Each is had once, by one of all clones and threads.
    pub(crate) fn is_dealt(&self) -> bool {
        self.more.is_some()
    }

    /// These, and no more. Each clone has them all.
    pub(crate) fn fixed(panels: Range<usize>) -> Self {
        Self { taken: panels, more: None }
    }
}

impl Iterator for Panels<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if let Some((shares, id)) = self.more
            && self.taken.is_empty()
        {
            self.taken = shares.take(id);
        }
        self.taken.next()
    }
}

impl Shares {
    pub(crate) fn new(threads: usize) -> Self {
        let mut left = Vec::new();
        left.resize_with(threads, Line::default);
        Self { left }
    }

    /// What each thread begins with.
    pub(crate) fn deal(&mut self, panels: impl Fn(usize) -> Range<usize>) {
        for (id, left) in self.left.iter_mut().enumerate() {
            let Range { start, end } = panels(id);
            *left.0.get_mut() = pack(start as u32..end as u32);
        }
    }

    /// Of the thread `id`. All threads together have every panel once.
    pub(crate) fn panels(&self, id: usize) -> Panels<'_> {
        Panels { taken: 0..0, more: Some((self, id)) }
    }

    /// What a thread does next, empty when it finds nothing.
    fn take(&self, id: usize) -> Range<usize> {
        let threads = self.left.len();
        let mut taken = self.take_of(id, End::Front);
        for other in (id + 1..id + threads).take(ASKED_MAX) {
            if taken.is_empty() {
                taken = self.take_of(other % threads, End::Back);
            }
        }
        taken
    }

    /// Half of what is left, at most `TAKEN_MAX` panels.
    fn take_of(&self, id: usize, from: End) -> Range<usize> {
        let line = &self.left[id].0;
        let mut bits = line.load(Relaxed);
        loop {
            let left = unpack(bits);
            if left.is_empty() {
                return 0..0;
            }
            let count = (left.end - left.start).div_ceil(2).min(TAKEN_MAX);
            let (taken, rest) = match from {
                End::Front => (left.start..left.start + count, left.start + count..left.end),
                End::Back => (left.end - count..left.end, left.start..left.end - count),
            };
            match line.compare_exchange_weak(bits, pack(rest), Relaxed, Relaxed) {
                Ok(_) => return taken.start as usize..taken.end as usize,
                Err(now) => bits = now,
            }
        }
    }
}

fn pack(panels: Range<u32>) -> u64 {
    u64::from(panels.end) << 32 | u64::from(panels.start)
}

fn unpack(bits: u64) -> Range<u32> {
    bits as u32..(bits >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::pool::Pool;
    use std::sync::atomic::AtomicUsize;

    fn dealt(threads: usize, panels: usize) -> Shares {
        let mut shares = Shares::new(threads);
        shares.deal(|id| panels * id / threads..panels * (id + 1) / threads);
        shares
    }

    #[test]
    fn a_thread_takes_its_own_in_order_then_those_of_others() {
        let shares = dealt(3, 30);
        let order: Vec<usize> = shares.panels(1).collect();
        assert_eq!(order[..10], [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        // Halves of what is left, from the end.
        assert_eq!(order[10..20], [25, 26, 27, 28, 29, 22, 23, 24, 21, 20]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..30).collect::<Vec<_>>());
        assert!((0..3).all(|id| shares.panels(id).next().is_none()));
    }

    #[test]
    fn what_was_not_taken_at_once_is_left_to_others() {
        let shares = dealt(2, 100);
        assert_eq!(shares.panels(0).next(), Some(0));
        let of_other = shares.panels(1).count();
        assert_eq!(of_other, 100 - TAKEN_MAX as usize);
        let few = dealt(2, 4);
        assert_eq!(few.panels(0).next(), Some(0));
        assert_eq!(few.panels(1).collect::<Vec<_>>(), [2, 3, 1]);
    }

    #[test]
    fn threads_have_every_panel_once_however_many_they_are() {
        for threads in [1, 2, 3, 7] {
            let mut pool = Pool::new(threads);
            // Of many, some are taken by two at a time.
            for panels in [0, 1, 5].into_iter().chain([40, 1000].repeat(100)) {
                let shares = dealt(threads, panels);
                let taken: Vec<AtomicUsize> = (0..panels).map(|_| AtomicUsize::new(0)).collect();
                pool.run(&|team| {
                    team.barrier();
                    for panel in shares.panels(team.id) {
                        taken[panel].fetch_add(1, Relaxed);
                    }
                });
                assert!(taken.iter().all(|count| count.load(Relaxed) == 1), "{panels} by {threads}");
            }
        }
    }

    #[test]
    fn fixed_panels_are_had_by_every_clone() {
        let panels = Panels::fixed(3..5);
        assert_eq!(panels.clone().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(panels.collect::<Vec<_>>(), [3, 4]);
    }
}
