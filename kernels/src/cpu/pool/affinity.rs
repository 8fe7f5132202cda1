//! Which processors the process may use, and pinning a thread to one of them.

use std::cmp::Ordering;

/// The processors that the process (its main thread) may use; never empty.
pub(super) fn allowed() -> Vec<usize> {
    // SAFETY: a set of zeros is an empty set, and the call writes at most its size. The main thread's id
    // is that of the process.
    let (set, result) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let result = libc::sched_getaffinity(libc::getpid(), size_of::<libc::cpu_set_t>(), &mut set);
        (set, result)
    };
    let mut cpus = Vec::new();
    if result == 0 {
        // SAFETY: the indices lie inside the set.
        cpus.extend((0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }));
    }
    if cpus.is_empty() {
        cpus.extend(0..std::thread::available_parallelism().map_or(1, usize::from));
    }
    cpus
}

/// How a pool's threads and the process' processors go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// One for each.
    Exact(Vec<usize>),
    /// Processors are left over. Nothing is pinned: the system knows which are idle, and other processes and pools that
    /// counted from the first one too would meet on the same.
    Roomy,
    /// Threads share processors.
    Crowded,
}

impl Fit {
    pub(super) fn of(threads: usize) -> Self {
        let allowed = allowed();
        match threads.cmp(&allowed.len()) {
            Ordering::Equal => Self::Exact(allowed),
            Ordering::Less => Self::Roomy,
            Ordering::Greater => Self::Crowded,
        }
    }

    /// Pins the calling thread, the pool's number `id`.
    pub(super) fn pin(&self, id: usize) {
        if let Self::Exact(cpus) = self {
            pin(cpus[id]);
        }
    }
}

/// Failure only costs speed.
fn pin(cpu: usize) {
    if cpu >= libc::CPU_SETSIZE as usize {
        return;
    }
    // SAFETY: the index lies inside the set, and 0 names the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
