//! A counter that threads wait on: they spin for some microseconds, then sleep on a futex.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

/// Longer than the gaps inside a step, shorter than what a wake-up costs twice.
const SPIN_TIME: Duration = Duration::from_micros(40);

/// How a thread waits before it sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spin {
    /// More threads than processors: whoever spins keeps another one from working.
    None,
    Brief,
}

pub(super) struct Event {
    value: AtomicU32,
    /// Spares the wake its system call when nobody sleeps.
    sleepers: AtomicU32,
}

impl Event {
    pub(super) const fn new() -> Self {
        Self { value: AtomicU32::new(0), sleepers: AtomicU32::new(0) }
    }

    pub(super) fn value(&self) -> u32 {
        self.value.load(Acquire)
    }

    /// Adds one and wakes all who wait.
    pub(super) fn raise(&self) {
        // SeqCst on both sides: either a sleeper sees the new value, or we see the sleeper.
        self.value.fetch_add(1, SeqCst);
        if self.sleepers.load(SeqCst) != 0 {
            let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: the address is that of a live, aligned u32.
            unsafe { libc::syscall(libc::SYS_futex, &self.value, operation, i32::MAX) };
        }
    }

    /// Returns once the value is not `old`.
    pub(super) fn wait_change(&self, old: u32, spin: Spin) {
        self.wait(spin, |value| value != old);
    }

    /// Returns once the value is `target`.
    pub(super) fn wait_for(&self, target: u32, spin: Spin) {
        self.wait(spin, |value| value == target);
    }

    fn wait(&self, spin: Spin, reached: impl Fn(u32) -> bool) {
        if reached(self.value()) {
            return;
        }
        if spin == Spin::Brief {
            let start = Instant::now();
            while start.elapsed() < SPIN_TIME {
                for _ in 0..16 {
                    if reached(self.value()) {
                        return;
                    }
                    spin_loop();
                }
            }
        }
        self.sleepers.fetch_add(1, SeqCst);
        loop {
            let value = self.value.load(SeqCst);
            if reached(value) {
                break;
            }
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            let forever = std::ptr::null::<libc::timespec>();
            // SAFETY: the address is that of a live, aligned u32; the call returns at once when the
            // value has changed, and the loop looks again whatever it returns.
            unsafe { libc::syscall(libc::SYS_futex, &self.value, operation, value, forever) };
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
}
