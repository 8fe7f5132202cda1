//! How much of their memory programs had in huge pages while they were measured.
//!
//! Of anonymous memory, as `/proc/PID/smaps_rollup` has it: weights and caches lie there, and what memory binds is slower
//! without huge pages, which the system may refuse at any time.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::process::bytes_of;

/// Each reading walks the program's memory, which takes milliseconds where pages are small: between readings pass so many
/// times what the last one took.
const PAUSE: u32 = 100;

/// With a smaller share numbers count as those without huge pages.
const SHARE_MIN: f64 = 0.8;

/// The memory of one process at one moment. More memory is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pages {
    anonymous_bytes: u64,
    huge_bytes: u64,
}

/// Looks at one process again and again.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When it held most memory: before, what it needs may not be there yet.
    most: Option<Pages>,
    next: Option<Instant>,
}

/// Of each program the run with the smallest share; `None` of one that was never seen.
#[derive(Debug, Default, PartialEq)]
pub(super) struct HugePages(BTreeMap<&'static str, Option<Pages>>);

impl Pages {
    /// `None` of a process that has ended.
    pub(super) fn read(process_id: u32) -> Option<Pages> {
        Pages::parse(&std::fs::read_to_string(format!("/proc/{process_id}/smaps_rollup")).ok()?)
    }

    fn parse(smaps_rollup: &str) -> Option<Pages> {
        let bytes = |name| bytes_of(smaps_rollup, name);
        Some(Pages { anonymous_bytes: bytes("Anonymous:")?, huge_bytes: bytes("AnonHugePages:")? })
    }

    fn share(self) -> f64 {
        self.huge_bytes as f64 / self.anonymous_bytes.max(1) as f64
    }

    fn describe(self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        let verdict = match self.share() < SHARE_MIN {
            true => format!(" (under {:.0} %: its numbers are without huge pages)", SHARE_MIN * 100.0),
            false => String::new(),
        };
        format!("{} of {} MiB{verdict}", mib(self.huge_bytes), mib(self.anonymous_bytes))
    }
}

impl Watch {
    /// May be called as often as one likes.
    pub(super) fn look(&mut self, process_id: u32) {
        let start = Instant::now();
        if self.next.is_none_or(|next| next <= start) {
            self.see(Pages::read(process_id));
            self.next = Some(Instant::now() + start.elapsed() * PAUSE);
        }
    }

    pub(super) fn most(&self) -> Option<Pages> {
        self.most
    }

    fn see(&mut self, pages: Option<Pages>) {
        self.most = self.most.max(pages);
    }
}

impl HugePages {
    /// What was seen of one run of `program`.
    pub(super) fn note(&mut self, program: &'static str, seen: Option<Pages>) {
        let least = self.0.entry(program).or_default();
        *least = match (*least, seen) {
            (Some(least), Some(seen)) if seen.share() >= least.share() => Some(least),
            (least, seen) => seen.or(least),
        };
    }

    /// `PROGRAM 490 of 503 MiB` of each.
    pub(super) fn describe(&self) -> String {
        let of = |(program, pages): (&&str, &Option<Pages>)| {
            format!("{program} {}", pages.map_or_else(|| "unknown".to_owned(), Pages::describe))
        };
        self.0.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn pages(huge_mib: u64, anonymous_mib: u64) -> Option<Pages> {
        Some(Pages { anonymous_bytes: anonymous_mib * MIB, huge_bytes: huge_mib * MIB })
    }

    #[test]
    fn pages_are_read_of_the_kernels_account() {
        let text = "5581-7ffe ---p 00000000 00:00 0                          [rollup]\n\
            Rss:              520000 kB\nAnonymous:        515072 kB\nKSM:                   0 kB\n\
            AnonHugePages:    501760 kB\nShmemPmdMapped:        0 kB\n";
        assert_eq!(Pages::parse(text), pages(490, 503));
        assert_eq!(Pages::parse("Rss: 1 kB\n"), None);
        assert!(Pages::read(std::process::id()).unwrap().anonymous_bytes > 0);
        assert_eq!(Pages::read(u32::MAX), None);
    }

    #[test]
    fn a_run_counts_by_when_it_held_most() {
        let mut watch = Watch::default();
        // All of the first memory in huge pages says nothing of the weights.
        for seen in [None, pages(4, 4), pages(100, 500), pages(300, 500), pages(2, 2), None] {
            watch.see(seen);
        }
        assert_eq!(watch.most(), pages(300, 500));
    }

    #[test]
    fn looks_are_as_rare_as_they_are_slow() {
        let process_id = std::process::id();
        let mut watch = Watch::default();
        watch.look(process_id);
        assert!(watch.most().is_some() && watch.next.is_some());
        for (later, looked) in [(60, false), (0, true)] {
            let next = Instant::now() + Duration::from_secs(later);
            watch = Watch { most: None, next: Some(next) };
            watch.look(process_id);
            assert_eq!((watch.most().is_some(), watch.next != Some(next)), (looked, looked));
        }
    }

    #[test]
    fn the_worst_run_of_each_program_is_told() {
        let mut all = HugePages::default();
        for (program, seen) in [
            ("b", pages(490, 503)),
            ("b", pages(100, 400)),
            ("b", None),
            ("b", pages(500, 503)),
            ("a", None),
            ("a", pages(80, 100)),
            ("c", None),
        ] {
            all.note(program, seen);
        }
        assert_eq!(
            all.describe(),
            "a 80 of 100 MiB, b 100 of 400 MiB (under 80 %: its numbers are without huge pages), c unknown"
        );
    }
}
